"""What became of one request. Times in seconds; latency counts from when it should have been sent."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from loadtests.objectives import Objective

OK, REJECTED, FAILED, TIMEOUT, CANCELLED, UNFINISHED = "ok", "rejected", "failed", "timeout", "cancelled", "unfinished"
OUTCOMES = (OK, REJECTED, FAILED, TIMEOUT, CANCELLED, UNFINISHED)


@dataclass(frozen=True)
class Record:
    """`at`: when it should have been sent, from the start of the run; `lag`: how much later it was."""

    at: float
    lag: float
    domain: str
    slo_class: str
    outcome: str = OK
    error: str = ""
    ttft: float = 0.0
    latency: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    gaps: tuple[float, ...] = ()  # between the chunks that brought tokens
    rounds: int = 0
    drafted_rounds: int = 0
    num_draft_tokens: int = 0
    num_accepted_tokens: int = 0
    accepted_per_depth: tuple[int, ...] = ()
    drafter_shares: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_ok(self) -> bool:
        return self.outcome == OK

    @property
    def ended(self) -> float:
        """On the run's clock."""
        return self.at + self.latency

    @property
    def tpot(self) -> float:
        """Seconds per output token after the first: by tokens, never by chunks. Of an answer in one piece, which tells
        of no time after its first token, all of its seconds count."""
        if not self.gaps and self.output_tokens > 1:
            return self.latency / self.output_tokens
        return (self.latency - self.ttft) / max(1, self.output_tokens - 1)

    def attains(self, objective: Objective) -> bool:
        """False for whatever did not end well."""
        return self.is_ok and objective.allows(self.ttft, self.tpot, self.latency)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def parse(values: Mapping[str, Any]) -> "Record":
        """From `as_dict`, perhaps by way of JSON."""
        lists = {name: tuple(values[name]) for name in ("gaps", "accepted_per_depth")}
        return Record(**{item.name: values[item.name] for item in fields(Record)} | lists)
