"""What a request brings back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class PerfMetrics:
    """How a request was served; times in milliseconds."""

    rounds: int = 0
    drafted_rounds: int = 0  # those in which a draft was checked
    num_draft_tokens: int = 0
    num_accepted_tokens: int = 0
    mean_acceptance_length: float = 1.0
    accepted_per_depth: tuple[int, ...] = ()
    drafter_shares: Mapping[str, float] = field(default_factory=dict)  # of the tokens drafted
    accepted_shares: Mapping[str, float] = field(default_factory=dict)  # of those accepted
    missing_drafters: Mapping[str, int] = field(default_factory=dict)  # rounds in which one was asked in vain
    routes: tuple[tuple[str, int], ...] = ()  # which drafters served, and for how many rounds on end
    routing: Mapping[str, float] = field(default_factory=dict)  # how often each drafter agrees with the verifier
    round_trip_ms: Mapping[str, float] = field(default_factory=dict)  # of a call to each of its drafters, lately
    orchestrator_share: float = 0.0  # of the time, in which the round loop itself was busy
    timeline_ms: tuple[tuple[float, float, float], ...] = ()  # of the latest rounds: drafting, verification, end
    predicted_ms: tuple[float, ...] = ()  # of the same rounds: what both stages were expected to take
    slo_met: Mapping[str, bool] = field(default_factory=dict)  # ttft and tpot, where they were promised
    time_ms: Mapping[str, float] = field(default_factory=dict)

    @staticmethod
    def parse(values: Mapping[str, Any]) -> "PerfMetrics":
        """Names that this client does not know yet are left out."""
        known = {name: values[name] for name in PerfMetrics.__dataclass_fields__ if name in values}
        return PerfMetrics(**{name: _frozen(value) for name, value in known.items()})


def _frozen(value: Any) -> Any:
    """Lists of any depth as tuples."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


@dataclass(frozen=True)
class Chunk:
    """One response of a stream. The last one carries `finish_reason` and `perf_metrics`."""

    text: str
    num_tokens: int  # output tokens since the chunk before
    num_input_tokens: int
    finish_reason: str | None = None  # stop | length | cancelled
    stop_reason: str | None = None  # the stop word or end token that was met
    perf_metrics: PerfMetrics | None = None


@dataclass(frozen=True)
class Generation:
    """A whole answer. Times in seconds, measured here; `ttft` counts to the first chunk with a token."""

    text: str
    num_input_tokens: int
    num_output_tokens: int
    finish_reason: str
    stop_reason: str
    perf_metrics: PerfMetrics
    ttft: float
    latency: float

    @property
    def tpot(self) -> float:
        """Seconds per output token after the first: by tokens, never by chunks."""
        return (self.latency - self.ttft) / max(1, self.num_output_tokens - 1)
