"""What one request cost and gained, for `perf_metrics`."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cospec.speculation.fusion import Node

STAGES = ("route", "draft", "verify", "other")
PLAIN = "none"  # a round's drafters, when nothing was drafted
TIMELINE_ROUNDS = 64  # the latest ones are kept


@dataclass
class RequestStatistics:
    """`rounds`: verifier passes after the prompt's own. A stage shared with a group counts in full for each request."""

    rounds: int = 0
    drafted_rounds: int = 0
    num_draft_tokens: int = 0
    num_accepted_tokens: int = 0
    accepted_per_depth: list[int] = field(default_factory=list)
    drafted_by: Counter[str] = field(default_factory=Counter)  # a token that two proposed counts for both
    accepted_by: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)  # rounds in which a drafter was asked and did not answer
    routes: list[tuple[str, int]] = field(default_factory=list)  # drafters of a round, and for how many rounds on end
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    # Of its rounds, on the server's clock: when drafting began, when verification began, when it ended.
    timeline: deque[tuple[float, float, float]] = field(default_factory=lambda: deque(maxlen=TIMELINE_ROUNDS))
    predicted: deque[float] = field(default_factory=lambda: deque(maxlen=TIMELINE_ROUNDS))  # their seconds, as expected
    slo_met: dict[str, bool] = field(default_factory=dict)  # promise -> whether it was kept
    round_trips: dict[str, float] = field(default_factory=dict)  # its drafters' recent seconds of a call
    orchestrator_share: float = 0.0  # of its time, in which the round loop itself kept a processor busy

    @property
    def mean_acceptance_length(self) -> float:
        """1 + accepted / drafted rounds: tokens that a round with a draft brings, the bonus token included."""
        return 1 + self.num_accepted_tokens / self.drafted_rounds if self.drafted_rounds else 1.0

    def observe_round(self, drafters: Sequence[str], nodes: Sequence[Node], path: Sequence[int]) -> None:
        """`nodes` were verified; `path` are the indices of those accepted."""
        self.rounds += 1
        self._observe_route("+".join(drafters) or PLAIN)
        if not nodes:
            return
        self.drafted_rounds += 1
        self.num_draft_tokens += len(nodes)
        self.num_accepted_tokens += len(path)
        self.drafted_by.update(name for node in nodes for name in node.voices)
        self.accepted_by.update(name for index in path for name in nodes[index].voices)
        self.accepted_per_depth.extend([0] * (len(path) - len(self.accepted_per_depth)))
        for depth in range(len(path)):
            self.accepted_per_depth[depth] += 1

    def as_dict(self) -> dict[str, Any]:
        return {
            "rounds": self.rounds,
            "drafted_rounds": self.drafted_rounds,
            "num_draft_tokens": self.num_draft_tokens,
            "num_accepted_tokens": self.num_accepted_tokens,
            "mean_acceptance_length": round(self.mean_acceptance_length, 4),
            "accepted_per_depth": self.accepted_per_depth,
            "drafter_shares": _shares(self.drafted_by),
            "accepted_shares": _shares(self.accepted_by),
            "missing_drafters": dict(self.missing),
            "routes": self.routes,
            "round_trip_ms": {name: round(seconds * 1e3, 3) for name, seconds in self.round_trips.items()},
            "orchestrator_share": round(self.orchestrator_share, 4),
            "predicted_ms": [round(seconds * 1e3, 3) for seconds in self.predicted],
            "slo_met": self.slo_met,
            "timeline_ms": [[round(moment * 1e3, 3) for moment in moments] for moments in self.timeline],
            "time_ms": {stage: round(self.seconds[stage] * 1e3, 3) for stage in STAGES},
        }

    def _observe_route(self, drafters: str) -> None:
        if self.routes and self.routes[-1][0] == drafters:
            self.routes[-1] = (drafters, self.routes[-1][1] + 1)
        else:
            self.routes.append((drafters, 1))


def _shares(counts: Counter[str]) -> dict[str, float]:
    total = counts.total()
    return {name: round(count / total, 4) for name, count in counts.most_common() if count}
