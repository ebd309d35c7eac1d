"""How Triton's dynamic batcher merged the calls to a model, from the server's own statistics."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tritonclient.grpc import InferenceServerClient


@dataclass(frozen=True)
class BatchCounts:
    """`rows`: what Triton calls inferences; a session's release is one too. `histogram`: rows of a batch -> batches."""

    rows: int = 0
    executions: int = 0
    histogram: Mapping[int, int] = field(default_factory=dict)

    @property
    def rows_per_execution(self) -> float:
        return self.rows / self.executions if self.executions else 0.0

    def since(self, earlier: "BatchCounts") -> "BatchCounts":
        """What was counted between `earlier` and now."""
        grown = {size: count - earlier.histogram.get(size, 0) for size, count in self.histogram.items()}
        histogram = {size: count for size, count in grown.items() if count}
        return BatchCounts(self.rows - earlier.rows, self.executions - earlier.executions, histogram)


def total(counts: Iterable[BatchCounts]) -> BatchCounts:
    """All of them together."""
    every = list(counts)
    sizes = sorted({size for each in every for size in each.histogram})
    histogram = {size: sum(each.histogram.get(size, 0) for each in every) for size in sizes}
    return BatchCounts(sum(each.rows for each in every), sum(each.executions for each in every), histogram)


def read_counts(url: str, model: str = "verifier") -> BatchCounts:
    """Since the server's start. Raises tritonclient's `InferenceServerException`."""
    with InferenceServerClient(url) as client:
        return parse_counts(client.get_inference_statistics(model, as_json=True))


def parse_counts(statistics: Mapping[str, Any]) -> BatchCounts:
    """Triton's answer for one model, as JSON: counts are strings, and what is zero is left out."""
    [model] = statistics["model_stats"]
    histogram = {
        int(batch["batch_size"]): int(batch["compute_infer"].get("count", 0)) for batch in model.get("batch_stats", [])
    }
    return BatchCounts(int(model.get("inference_count", 0)), int(model.get("execution_count", 0)), histogram)
