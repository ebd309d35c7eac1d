"""What the comparison of controllers measures: contenders, loads, and how long."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from loadtests.bench_plan import Mode
from loadtests.workload import TYPICAL_ANSWER

PARTS = ("sweep", "replay")
OFF, AUTO = Mode("off", "off"), Mode("ours", "auto")
FIXED = tuple(Mode(f"fixed k={depth}", f"routed:{depth}") for depth in (2, 4, 8))  # of the drafter that knows the text
RULES = (
    Mode("schedule by batch size", "auto:schedule"),
    Mode("SmartSpec's rule", "auto:smartspec"),
    Mode("AdaSpec's rule", "auto:adaspec"),
)
CONTENDERS = (OFF, *FIXED, *RULES, AUTO)


@dataclass(frozen=True)
class PairPlan:
    """`max_tokens`: of an answer, on average; `prompts`: concurrency -> of a cell. `rates`: requests a second, of the
    replays, whose answers have `replay_tokens` on average; times in seconds."""

    repeats: int
    max_tokens: int
    prompts: Mapping[int, int]
    rates: tuple[float, ...]
    replay_tokens: int
    replay_seconds: float
    ttft: float  # promises to every request of a replay
    tpot: float


@dataclass(frozen=True)
class AdaptivePlan:
    """`costly`: for pairs whose verifier is not the bundled one."""

    bundle: PairPlan
    costly: PairPlan

    def with_repeats(self, repeats: int | None) -> "AdaptivePlan":
        """So many everywhere, where that is said."""
        if repeats is None:
            return self
        return AdaptivePlan(*(replace(plan, repeats=repeats) for plan in (self.bundle, self.costly)))


CELLS = {1: 10, 2: 12, 4: 16, 8: 24, 16: 32, 32: 64, 64: 128}
FULL = AdaptivePlan(
    bundle=PairPlan(
        3, TYPICAL_ANSWER, CELLS, (8, 16, 24, 32), replay_tokens=48, replay_seconds=20, ttft=0.5, tpot=0.03
    ),
    costly=PairPlan(
        2, TYPICAL_ANSWER, CELLS, (2, 4, 6, 8, 10), replay_tokens=32, replay_seconds=30, ttft=1.0, tpot=0.08
    ),
)
QUICK = AdaptivePlan(
    bundle=PairPlan(1, 32, {1: 5, 8: 8, 32: 32}, (16,), 32, 8, ttft=0.5, tpot=0.03),
    costly=PairPlan(1, 24, {1: 5, 8: 8, 32: 32}, (3,), 24, 12, ttft=1.0, tpot=0.08),
)
