"""One line that says how a run went, and the exit code that goes with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadtests.objectives import Objectives
from loadtests.slo.figures import Figures

MAX_LAG_MS = 10.0  # of the generator's own schedule, at p99: beyond it a run says more about the generator
PASS, FAIL, INVALID = "PASS", "FAIL", "INVALID"


@dataclass(frozen=True)
class Verdict:
    status: str
    reasons: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        return 0 if self.status == PASS else 1


def judge(figures: Figures, objectives: Objectives, regressions: Sequence[str] = ()) -> Verdict:
    """INVALID before FAIL: a late generator's figures prove nothing."""
    if not figures.get("attainment") and figures.get("attainment") is None:
        return Verdict(INVALID, ("no request counted",))
    lag = figures["schedule_lag_p99_ms"] or 0.0
    if lag > MAX_LAG_MS:
        late = f"the generator itself was late by {lag:.1f} ms at p99, above {MAX_LAG_MS:g} ms"
        return Verdict(INVALID, (f"{late}; give it a core of its own, or --workers",))
    missed = [rule for rule in objectives.gate if not rule.holds(figures.get(rule.figure))]
    reasons = [f"{rule.figure} is {shown(rule.figure, figures.get(rule.figure))}, not {rule}" for rule in missed]
    reasons += regressions
    return Verdict(FAIL if reasons else PASS, tuple(reasons))


def sentence(verdict: Verdict, figures: Figures) -> str:
    """The line that a run's output opens with."""
    if verdict.status != PASS:
        return f"{verdict.status}  {'; '.join(verdict.reasons)}"
    return (
        f"PASS  {shown('attainment', figures['attainment'])} of requests attain their objectives at "
        f"{figures['offered_rps']:.1f}/s; TTFT p99 {shown('ttft_p99_ms', figures['ttft_p99_ms'])}, "
        f"TPOT p99 {shown('tpot_p99_ms', figures['tpot_p99_ms'])}, {figures['throughput_tps']:.0f} tokens/s"
    )


def shown(name: str, value: float | None) -> str:
    """A figure with its unit, as people read it."""
    if value is None:
        return "not measured"
    figure = name.rpartition(".")[2]
    if figure.endswith("_ms"):
        return f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms"
    if figure in ("attainment", "failed_share", "rejected_share"):
        return f"{value:.2%}".replace("100.00%", "100%")
    return (f"{value:.0f}" if value >= 100 else f"{value:.2f}") + {
        "goodput_rps": "/s",
        "offered_rps": "/s",
        "throughput_tps": " tokens/s",
    }.get(figure, "")


def as_json(verdict: Verdict) -> Mapping[str, Any]:
    return {"status": verdict.status, "reasons": list(verdict.reasons)}
