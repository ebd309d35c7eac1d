"""The regression guard: ratios of a run, which machines share, against those that repeats once had."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from loadtests.bad_input import BadInput
from loadtests.slo.verdict import INVALID

BASELINES = Path(__file__).resolve().parent.parent / "baselines"
LEAST_TOLERANCE = 0.10  # relative; repeats on a quiet machine are more alike than runs on any other day
SPREADS = 2.0  # how many times the repeats' own spread is still no regression
# Ratio -> whether more of it is better.
RATIOS: Mapping[str, bool] = {
    "tokens/s alone, this speculation over off": True,
    "TTFT p50 under load over alone": False,
    "TPOT p50 under load over alone": False,
    "TTFT p99 over p50": False,
    "TPOT p99 over p50": False,
    "attainment": True,
}
UNRELATED = ("load_seed", "slo", "grace", "characters_per_token")  # to what a ratio is of


@dataclass(frozen=True)
class Regression:
    ratio: str
    value: float | None
    expected: float
    tolerance: float
    regressed: bool

    def __str__(self) -> str:
        shown = "not measured" if self.value is None else f"{self.value:.2f}"
        return f"{self.ratio} is {shown}, {self.expected:.2f} before (tolerance {self.tolerance:.0%})"


def ratios(figures: Mapping[str, float | None], alone: Mapping[str, float]) -> dict[str, float]:
    """`alone`: medians of requests without company, by `loadtests.slo.warm_up`. What cannot be formed is left out."""
    pairs = {
        "tokens/s alone, this speculation over off": (
            alone.get("tokens_per_second"),
            alone.get("off_tokens_per_second"),
        ),
        "TTFT p50 under load over alone": (figures.get("ttft_p50_ms"), alone.get("ttft_ms")),
        "TPOT p50 under load over alone": (figures.get("tpot_p50_ms"), alone.get("tpot_ms")),
        "TTFT p99 over p50": (figures.get("ttft_p99_ms"), figures.get("ttft_p50_ms")),
        "TPOT p99 over p50": (figures.get("tpot_p99_ms"), figures.get("tpot_p50_ms")),
        "attainment": (figures.get("attainment"), 1.0),
    }
    return {name: round(above / below, 4) for name, (above, below) in pairs.items() if above is not None and below}


def learn(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A baseline from repeats of one run. Raises `BadInput` if they are of different runs, or too few."""
    if len(results) < 2:
        raise BadInput(f"a tolerance needs at least 2 repeats, got {len(results)}")
    if any(result["verdict"]["status"] == INVALID for result in results):
        raise BadInput("a run that is INVALID teaches nothing: leave it out, or run it again")
    if len({json.dumps(kept(result), sort_keys=True) for result in results}) > 1:
        raise BadInput("repeats must be of the same plan, verifier and processor")
    common = set.intersection(*(set(result["ratios"]) for result in results))
    learnt = {name: _learnt([result["ratios"][name] for result in results]) for name in RATIOS if name in common}
    for name, ratio in learnt.items():
        if ratio["tolerance"] >= 1:
            raise BadInput(f"repeats lie too far apart to learn from: {name} by {ratio['tolerance'] / SPREADS:.0%}")
    return {**kept(results[0]), "repeats": len(results), "ratios": learnt}


def compare_with(baseline: Mapping[str, Any], result: Mapping[str, Any]) -> list[Regression]:
    """Every ratio of the baseline beside this run's."""
    return [_compared(name, learnt, result["ratios"].get(name)) for name, learnt in baseline["ratios"].items()]


def kept(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a run must share with a baseline to be compared with it."""
    plan = {name: value for name, value in result["plan"].items() if name not in UNRELATED}
    processor = result["machine"]["processor"]
    return {"plan": plan, "verifier": result["verifier"], "processor": processor, "classes": result["classes"]}


def why_not(baseline: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """Why a run cannot be held against a baseline, or nothing."""
    for name, value in kept(result).items():
        if baseline.get(name) == value:
            continue
        if name != "plan":
            return f"the baseline is of {'other' if name == 'classes' else 'another'} {name}"
        other = [key for key in value if baseline["plan"].get(key) != value[key]]
        return f"the baseline is of another plan: other {', '.join(other)}"
    return ""


def read_baseline(path: Path) -> dict[str, Any]:
    """Raises `BadInput`."""
    try:
        baseline: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        assert {"plan", "verifier", "processor", "classes", "ratios"} <= baseline.keys()
    except OSError as error:
        raise BadInput(f"baseline {path} cannot be read: {error.strerror}") from error
    except (ValueError, AssertionError, AttributeError) as error:
        raise BadInput(f"baseline {path} is none; `python -m loadtests learn` writes them") from error
    return baseline


def _learnt(values: Sequence[float]) -> dict[str, float]:
    middle = median(values)
    spread = (max(values) - min(values)) / middle if middle else 0.0
    return {"value": middle, "tolerance": round(max(LEAST_TOLERANCE, SPREADS * spread), 4)}


def _compared(name: str, learnt: Mapping[str, float], value: float | None) -> Regression:
    expected, tolerance = learnt["value"], learnt["tolerance"]
    if value is None:
        return Regression(name, None, expected, tolerance, regressed=True)
    worse = value < expected * (1 - tolerance) if RATIOS.get(name, True) else value > expected * (1 + tolerance)
    return Regression(name, value, expected, tolerance, worse)
