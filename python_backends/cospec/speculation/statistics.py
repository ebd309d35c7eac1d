"""What one request cost and gained, for `perf_metrics`."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

STAGES = ("route", "draft", "verify", "other")


@dataclass
class RequestStatistics:
    """`rounds`: verifier passes after the prompt's own. A stage shared with a group counts in full for each request."""

    rounds: int = 0
    drafted_rounds: int = 0
    num_accepted_tokens: int = 0
    accepted_per_depth: list[int] = field(default_factory=list)
    drafted_by: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    @property
    def num_draft_tokens(self) -> int:
        return self.drafted_by.total()

    @property
    def mean_acceptance_length(self) -> float:
        """1 + accepted / drafted rounds: tokens that a round with a draft brings, the bonus token included."""
        return 1 + self.num_accepted_tokens / self.drafted_rounds if self.drafted_rounds else 1.0

    def observe_round(self, drafter: str, num_draft_tokens: int, num_accepted: int) -> None:
        """A round in which tokens were drafted and verified."""
        self.rounds += 1
        self.drafted_rounds += 1
        self.drafted_by[drafter] += num_draft_tokens
        self.num_accepted_tokens += num_accepted
        missing = num_draft_tokens - len(self.accepted_per_depth)
        self.accepted_per_depth.extend([0] * missing)
        for depth in range(num_accepted):
            self.accepted_per_depth[depth] += 1

    def observe_plain_round(self) -> None:
        """A round without a draft."""
        self.rounds += 1

    def as_dict(self) -> dict[str, Any]:
        total = self.num_draft_tokens
        return {
            "rounds": self.rounds,
            "drafted_rounds": self.drafted_rounds,
            "num_draft_tokens": total,
            "num_accepted_tokens": self.num_accepted_tokens,
            "mean_acceptance_length": round(self.mean_acceptance_length, 4),
            "accepted_per_depth": self.accepted_per_depth,
            "drafter_shares": {name: round(count / total, 4) for name, count in self.drafted_by.items() if count},
            "time_ms": {stage: round(self.seconds[stage] * 1e3, 3) for stage in STAGES},
        }
