"""Latencies and rates of finished requests. Pure: numbers in, numbers out."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Sample:
    """One finished request; times in seconds."""

    ttft: float
    latency: float
    num_output_tokens: int
    drafted_rounds: int = 0
    num_accepted_tokens: int = 0

    @property
    def tpot(self) -> float:
        """Seconds per output token after the first."""
        return (self.latency - self.ttft) / max(1, self.num_output_tokens - 1)


@dataclass(frozen=True)
class Summary:
    """Times in milliseconds."""

    tokens_per_second: float
    ttft_p50: float
    tpot_p50: float
    tpot_p99: float
    mean_acceptance_length: float
    latency_p50: float


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank: the smallest value that `share` of all values do not exceed."""
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * round(share * 100) // 100))
    return ordered[rank - 1]


def summarize(samples: Sequence[Sample], seconds: float) -> Summary:
    """`seconds`: from the first request's start to the last one's end."""
    tpots = [sample.tpot * 1e3 for sample in samples]
    rounds = sum(sample.drafted_rounds for sample in samples)
    accepted = sum(sample.num_accepted_tokens for sample in samples)
    return Summary(
        tokens_per_second=sum(sample.num_output_tokens for sample in samples) / seconds,
        ttft_p50=median(sample.ttft * 1e3 for sample in samples),
        tpot_p50=median(tpots),
        tpot_p99=percentile(tpots, 0.99),
        mean_acceptance_length=1 + accepted / rounds if rounds else 1.0,
        latency_p50=median(sample.latency * 1e3 for sample in samples),
    )


def median_summary(summaries: Sequence[Summary]) -> Summary:
    """The median of each figure over repeats."""
    return Summary(*(median(values) for values in zip(*(_figures(summary) for summary in summaries), strict=True)))


def _figures(summary: Summary) -> tuple[float, ...]:
    return tuple(getattr(summary, name) for name in Summary.__dataclass_fields__)
