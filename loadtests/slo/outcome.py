"""A run's records, judged: everything that its report shows, as one value and as JSON."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loadtests.environment import describe_machine
from loadtests.generator.plan import Plan
from loadtests.generator.record import OK, Record
from loadtests.objectives import Objectives
from loadtests.slo import guard, series, verdict
from loadtests.slo.figures import Figures, figures_of, measured, run_figures
from loadtests.slo.verdict import Verdict

Facts = Mapping[str, Any]  # about server, settings, requests without company: plain JSON
FORMAT = 1


@dataclass(frozen=True)
class Outcome:
    """`records`: all, warm-up included; `result`: what `result.json` holds."""

    records: Sequence[Record]
    plan: Plan
    objectives: Objectives
    figures: Figures
    verdict: Verdict
    result: Mapping[str, Any]

    @property
    def sentence(self) -> str:
        return verdict.sentence(self.verdict, self.figures)


def outcome_of(
    records: Sequence[Record], plan: Plan, facts: Facts, baseline: Mapping[str, Any] | None = None
) -> Outcome:
    """`baseline`: ratios to be held against, where the run is comparable."""
    objectives = plan.objectives()
    counted = measured(records, plan)
    figures = run_figures(counted, plan, objectives)
    result: dict[str, Any] = {
        "format": FORMAT,
        "plan": {**asdict(plan), "slo": Path(plan.slo).name},
        "verifier": "",
        **facts,
        **describe_machine(),
        "figures": figures,
        "ratios": guard.ratios(figures, facts.get("alone", {})),
        "classes": {objective.name: asdict(objective) for objective in objectives.classes},
        **_counts(records, counted),
        **_details(records, counted, plan, objectives),
    }
    result["guard"] = _guarded(baseline, result)
    judged = verdict.judge(figures, objectives, _worse(result["guard"]))
    result |= {"gate": _gate(figures, objectives), "verdict": verdict.as_json(judged)}
    return Outcome(records, plan, objectives, figures, judged, result)


def _counts(records: Sequence[Record], counted: Sequence[Record]) -> dict[str, Any]:
    return {
        "requests": len(counted),
        "warm_up_requests": len(records) - len(counted),
        "outcomes": Counter(record.outcome for record in counted),
        "errors": dict(Counter(record.error for record in counted if record.outcome != OK).most_common(10)),
    }


def _details(
    records: Sequence[Record], counted: Sequence[Record], plan: Plan, objectives: Objectives
) -> dict[str, Any]:
    names = sorted({record.domain for record in counted})
    domains = {name: [record for record in counted if record.domain == name] for name in names}
    return {
        "domains": {name: figures_of(own, plan, objectives) for name, own in domains.items()},
        "course": series.course(records, plan, objectives),
        "drift": series.drift(counted),
        "drafter_shares": series.drafter_shares(counted),
        "accepted_per_depth": series.accepted_per_depth(counted),
    }


def _gate(figures: Figures, objectives: Objectives) -> list[dict[str, Any]]:
    values = [(rule, figures.get(rule.figure)) for rule in objectives.gate]
    return [
        {"figure": rule.figure, "bound": str(rule), "value": value, "holds": rule.holds(value)}
        for rule, value in values
    ]


def _guarded(baseline: Mapping[str, Any] | None, result: Mapping[str, Any]) -> dict[str, Any]:
    """What the guard found; `why_not`: why it does not count."""
    if baseline is None:
        return {"why_not": "no baseline was given", "ratios": []}
    ratios = guard.compare_with(baseline, result)
    return {
        "why_not": guard.why_not(baseline, result),
        "ratios": [{**asdict(each), "sentence": str(each)} for each in ratios],
    }


def _worse(guarded: Mapping[str, Any]) -> list[str]:
    if guarded["why_not"]:
        return []
    return [each["sentence"] for each in guarded["ratios"] if each["regressed"]]
