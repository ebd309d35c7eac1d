"""What the comparison of controllers measures: contenders, loads, and how long."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from loadtests.bench_plan import Mode

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
    """`prompts`: concurrency -> of a cell. `rates`: requests a second, of the replays; times in seconds."""

    repeats: int
    max_tokens: int
    prompts: Mapping[int, int]
    rates: tuple[float, ...]
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


FULL = AdaptivePlan(
    bundle=PairPlan(
        3, 48, {1: 10, 2: 12, 4: 16, 8: 24, 16: 32, 32: 64, 64: 128}, (8, 16, 24, 32), 20, ttft=0.5, tpot=0.03
    ),
    costly=PairPlan(
        2, 32, {1: 10, 2: 12, 4: 16, 8: 32, 16: 64, 32: 64, 64: 128}, (2, 4, 6, 8, 10), 30, ttft=1.0, tpot=0.08
    ),
)
QUICK = AdaptivePlan(
    bundle=PairPlan(1, 32, {1: 5, 8: 8, 32: 32}, (16,), 8, ttft=0.5, tpot=0.03),
    costly=PairPlan(1, 24, {1: 5, 8: 8, 32: 32}, (3,), 12, ttft=1.0, tpot=0.08),
)
