"""The knee of each way to speculate: the highest rate at which the objectives are attained, side by side."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loadtests.bad_input import BadInput
from loadtests.bench_plan import Mode
from loadtests.generator.plan import Plan, check_plan
from loadtests.slo.bisection import Knee, Search, find_knees
from loadtests.slo.outcome import Outcome
from loadtests.slo.run import Ready, measure, prepare, say
from loadtests.slo.server import ServerChoice, check_choice, measured_server
from loadtests.slo.sweep_report import write_sweep
from loadtests.slo.verdict import INVALID

OFF, AUTO = Mode("off", "off"), Mode("auto", "auto")
HIGHEST_RATE, LOWEST_RATE = 2000.0, 0.05
COLUMNS = ("offered_rps", "attainment", "goodput_rps", "throughput_tps", "ttft_p99_ms", "tpot_p50_ms", "tpot_p99_ms")


@dataclass(frozen=True)
class SweepPlan:
    """`target`: attainment to reach in most of `attempts`; `precision`: how near the knee's sides come."""

    target: float = 0.99
    start: float = 4.0
    precision: float = 0.1
    attempts: int = 3
    fixed: tuple[int, ...] = (2, 4, 8)
    single: str = ""  # a drafter, to draft the fixed lengths for every prompt as well

    @property
    def modes(self) -> tuple[Mode, ...]:
        """Each prompt's own drafter drafts the fixed lengths, as if routing never erred."""
        own = [Mode(f"fixed k={k}", f"fixed:{{domain}}:{k}") for k in self.fixed]
        alone = [Mode(f"{self.single} k={k}", f"fixed:{self.single}:{k}") for k in self.fixed if self.single]
        return (OFF, *alone, *own, AUTO)


@dataclass(frozen=True)
class Trial:
    """A rate, tried."""

    outcome: Outcome
    target: float

    @property
    def attained(self) -> bool:
        return (self.outcome.figures["attainment"] or 0.0) >= self.target

    @property
    def valid(self) -> bool:
        return self.outcome.verdict.status != INVALID

    @property
    def counts(self) -> bool:
        """Lateness counts as latency: a late generator can hide that a rate is attained, and cannot invent it."""
        return self.valid or self.attained


def sweep(plan: Plan, how: SweepPlan, choice: ServerChoice, folder: Path, workers: int = 1) -> int:
    """The exit code: 1 if the knee of any mode is below every rate tried. Raises `BadInput`."""
    check_plan(plan)
    check_choice(choice)
    _check(plan, how)
    modes = {mode.name: mode for mode in how.modes}
    with measured_server(choice) as addresses:
        ready = prepare(plan, choice, addresses, [mode.speculation for mode in how.modes])
        for knees in find_knees(
            {name: Search(how.start, LOWEST_RATE, HIGHEST_RATE, how.precision, how.attempts) for name in modes},
            lambda name, rate, attempt: _trial(modes[name], rate, attempt, plan, how, ready, workers),
        ):
            result = as_json(knees, plan, how)
            report = write_sweep(result, folder)  # after each trial, so that none is lost with a later one
    print(result["headline"])
    for row in result["modes"]:
        print(
            f"  {row['mode']:12} {row['knee_rps']:7.2f} requests/s{'' if row['valid'] else '   the generator was late'}"
        )
    print(f"report: {report}   beside it: sweep.json, sweep.csv")
    return 0 if all(knee.rate for knee in knees.values()) else 1


def as_json(knees: dict[str, Knee[Trial]], plan: Plan, how: SweepPlan) -> dict[str, Any]:
    """Everything that the report shows."""
    any_trial = next(trial for knee in knees.values() for _, trial in knee.trials)
    rates = {name: knee.rate for name, knee in knees.items()}
    return {
        **{
            key: any_trial.outcome.result[key]
            for key in ("verifier", "settings", "machine", "versions", "alone", "server")
        },
        "plan": {**any_trial.outcome.result["plan"], "rate": "swept", "speculation": "swept"},
        "sweep": {"target": how.target, "precision": how.precision, "attempts": how.attempts},
        "started": any_trial.outcome.result["started"],
        "headline": headline(rates),
        "ratios": knee_ratios(rates),
        "modes": [_mode_json(name, knee) for name, knee in knees.items()],
    }


def knee_ratios(rates: dict[str, float]) -> dict[str, float]:
    """auto's knee over off's, and over those of the best fixed lengths, of one drafter and of each prompt's own."""
    single, fixed = _best_of(rates, own=False), _best_of(rates, own=True)
    below = {"off": "off", "the best of one drafter": single, "the best fixed length": fixed}
    known = {f"auto over {words}": rates[name] for words, name in below.items() if name in rates}
    return {name: round(rates["auto"] / rate, 3) for name, rate in known.items() if rate and "auto" in rates}


def headline(rates: dict[str, float]) -> str:
    """The sweep in a line."""
    names = ("off", _best_of(rates, own=False), _best_of(rates, own=True), "auto")
    words = ", ".join(f"{name} {rates[name]:.2f}" for name in names if name in rates)
    compared = ", ".join(
        f"{ratio:.2f}x {name.removeprefix('auto over ')}" for name, ratio in knee_ratios(rates).items()
    )
    return f"KNEE  requests/s: {words}" + (f"; auto is {compared}" if compared else "")


def _best_of(rates: dict[str, float], own: bool) -> str:
    """The fixed length with the highest knee; `own`: by each prompt's own drafter, else by one for all."""
    lengths = [name for name in rates if " k=" in name and name.startswith("fixed") == own]
    return max(lengths, key=lambda name: rates[name], default="")


def _trial(mode: Mode, rate: float, attempt: int, plan: Plan, how: SweepPlan, ready: Ready, workers: int) -> Trial:
    """Each attempt has arrivals of its own, the same for all modes: of one draw fewer may come than the rate says."""
    tried = replace(plan, rate=round(rate, 3), speculation=mode.speculation, load_seed=plan.load_seed + attempt)
    outcome = measure(tried, ready, workers)
    say(f"{mode.name}, {rate:.2f} requests/s: attainment {outcome.figures['attainment'] or 0:.1%}")
    return Trial(outcome, how.target)


def _mode_json(name: str, knee: Knee[Trial]) -> dict[str, Any]:
    trials = [
        {
            "rate": round(rate, 3),
            "attained": trial.attained,
            "valid": trial.valid,
            **{
                figure: trial.outcome.figures[figure]
                for figure in (*COLUMNS, "schedule_lag_p99_ms", "acceptance_length")
            },
        }
        for rate, trial in sorted(knee.trials, key=lambda pair: pair[0])
    ]
    return {
        "mode": name,
        "knee_rps": knee.rate,
        "not_attained_rps": knee.above,
        "valid": all(trial.counts for _, trial in knee.trials),
        "trials": trials,
    }


def _check(plan: Plan, how: SweepPlan) -> None:
    if plan.is_closed:
        raise BadInput("--arrivals closed has no rate to sweep")
    if not 0 < how.target <= 1:
        raise BadInput(f"--target must be above 0 and at most 1, got {how.target:g}")
    if not 0.01 <= how.precision <= 1:
        raise BadInput(f"--precision must be from 0.01 to 1, got {how.precision:g}")
    if not 1 <= how.attempts <= 10:
        raise BadInput(f"--attempts must be from 1 to 10, got {how.attempts}")
    if not LOWEST_RATE <= how.start <= HIGHEST_RATE:
        raise BadInput(f"--start must be from {LOWEST_RATE:g} to {HIGHEST_RATE:g}, got {how.start:g}")
