"""The knee of each way to speculate: the highest rate at which the objectives are attained, side by side."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loadtests.bad_input import BadInput
from loadtests.generator.plan import TOLD, UNTOLD, Plan, check_plan
from loadtests.slo.bisection import Knee, Search, find_knees
from loadtests.slo.outcome import Outcome
from loadtests.slo.run import Ready, measure, prepare, say
from loadtests.slo.server import ServerChoice, check_choice, measured_server
from loadtests.slo.sweep_report import write_sweep
from loadtests.slo.verdict import INVALID

HIGHEST_RATE, LOWEST_RATE = 2000.0, 0.05
ROUTED, OWN = "routed", "own"
COLUMNS = ("offered_rps", "attainment", "goodput_rps", "throughput_tps", "ttft_p99_ms", "tpot_p50_ms", "tpot_p99_ms")


@dataclass(frozen=True)
class Contender:
    """A way to be served. `promises`: whether its requests tell the server theirs."""

    name: str
    speculation: str
    promises: str = TOLD


OFF, AUTO = Contender("off", "off"), Contender("auto", "auto")


@dataclass(frozen=True)
class SweepPlan:
    """`target`: attainment to reach in most of `attempts`; `precision`: how near the knee's sides come; `untold`: also
    fixed lengths of requests that do not tell the server their promises."""

    target: float = 0.99
    start: float = 4.0
    precision: float = 0.1
    attempts: int = 3
    fixed: tuple[int, ...] = (2, 4, 8)
    by: tuple[str, ...] = (ROUTED,)  # who drafts the fixed lengths: `ROUTED`, `OWN`, or a drafter for every prompt

    untold: bool = False

    @property
    def modes(self) -> tuple[Contender, ...]:
        told = (TOLD, UNTOLD) if self.untold else (TOLD,)
        return (OFF, *(_fixed(who, k, promises) for promises in told for who in self.by for k in self.fixed), AUTO)


def _fixed(who: str, length: int, promises: str) -> Contender:
    label = "fixed" if who == ROUTED else who
    kind = label if promises == TOLD else f"untold {label}"
    return Contender(f"{kind} k={length}", _speculation(who, length), promises)


def _speculation(who: str, length: int) -> str:
    """As requests ask for it. `ROUTED`: by the drafter that the server finds, as it does for `auto`; `OWN`: by that of
    each prompt's domain, which the server is told."""
    return f"routed:{length}" if who == ROUTED else f"fixed:{'{domain}' if who == OWN else who}:{length}"


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
            f"  {row['mode']:18} {row['knee_rps']:7.2f} requests/s{'' if row['valid'] else '   the generator was late'}"
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
        "plan": {**any_trial.outcome.result["plan"], "rate": "swept", "speculation": "swept", "promises": "swept"},
        "sweep": {"target": how.target, "precision": how.precision, "attempts": how.attempts},
        "started": any_trial.outcome.result["started"],
        "headline": headline(rates),
        "ratios": knee_ratios(rates),
        "modes": [_mode_json(name, knee) for name, knee in knees.items()],
    }


def knee_ratios(rates: dict[str, float]) -> dict[str, float]:
    """auto's knee over off's, and over those of the best lengths, whoever drafts them."""
    below = {name: "off" if name == "off" else f"the best {_kind(name)} length" for name in _bests(rates)}
    return {
        f"auto over {words}": round(rates["auto"] / rates[name], 3)
        for name, words in below.items()
        if name != "auto" and rates[name] and "auto" in rates
    }


def headline(rates: dict[str, float]) -> str:
    """The sweep in a line."""
    words = ", ".join(f"{name} {rates[name]:.2f}" for name in _bests(rates))
    compared = ", ".join(
        f"{ratio:.2f}x {name.removeprefix('auto over ')}" for name, ratio in knee_ratios(rates).items()
    )
    return f"KNEE  requests/s: {words}" + (f"; auto is {compared}" if compared else "")


def _bests(rates: dict[str, float]) -> list[str]:
    """Of the modes that differ in nothing but the draft's length, the one with the highest knee."""
    bests: dict[str, str] = {}
    for name in rates:
        bests[_kind(name)] = max(name, bests.get(_kind(name), name), key=rates.__getitem__)
    return list(bests.values())


def _kind(name: str) -> str:
    return name.partition(" k=")[0]


def _trial(mode: Contender, rate: float, attempt: int, plan: Plan, how: SweepPlan, ready: Ready, workers: int) -> Trial:
    """Each attempt has arrivals of its own, the same for all modes: of one draw fewer may come than the rate says."""
    tried = replace(
        plan,
        rate=round(rate, 3),
        speculation=mode.speculation,
        promises=mode.promises,
        load_seed=plan.load_seed + attempt,
    )
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
    if plan.promises != TOLD:
        raise BadInput("--promises is of one run; a sweep tells them, and with --untold fixed lengths also without")
    if not 0 < how.target <= 1:
        raise BadInput(f"--target must be above 0 and at most 1, got {how.target:g}")
    if not 0.01 <= how.precision <= 1:
        raise BadInput(f"--precision must be from 0.01 to 1, got {how.precision:g}")
    if not 1 <= how.attempts <= 10:
        raise BadInput(f"--attempts must be from 1 to 10, got {how.attempts}")
    if len(set(how.by)) != len(how.by) or not set(how.by).isdisjoint({"off", "auto", "fixed", ""}):
        raise BadInput(f"--by must be routed, own or drafters, each once, got {' '.join(how.by)!r}")
    if not LOWEST_RATE <= how.start <= HIGHEST_RATE:
        raise BadInput(f"--start must be from {LOWEST_RATE:g} to {HIGHEST_RATE:g}, got {how.start:g}")
