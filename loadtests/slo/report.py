"""A run on disk: `report.html`, which needs nothing beside it, `result.json` and `requests.csv`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from loadtests.slo.cards import cards_of
from loadtests.slo.outcome import Outcome
from loadtests.slo.records_file import write_csv
from loadtests.slo.verdict import PASS, shown

TEMPLATES = Path(__file__).parent / "templates"
REPORT, RESULT, REQUESTS = "report.html", "result.json", "requests.csv"
TILES = {
    "attainment": "attained",
    "offered_rps": "offered",
    "goodput_rps": "goodput",
    "throughput_tps": "tokens/s",
    "ttft_p50_ms": "TTFT p50",
    "ttft_p99_ms": "TTFT p99",
    "tpot_p50_ms": "TPOT p50",
    "tpot_p99_ms": "TPOT p99",
    "acceptance_length": "acceptance length",
    "schedule_lag_p99_ms": "generator lag p99",
}
GROUP_COLUMNS = {
    "attainment": "attained",
    "goodput_rps": "goodput",
    "ttft_p50_ms": "TTFT p50",
    "ttft_p99_ms": "p99",
    "tpot_p50_ms": "TPOT p50",
    "tpot_p99_ms": "p99",
    "e2e_p50_ms": "e2e p50",
    "e2e_p99_ms": "p99",
    "failed_share": "failed",
    "acceptance_length": "acceptance",
}
Rows = list[list[str]]


def write_run(outcome: Outcome, folder: Path) -> Path:
    """All files of a run into `folder`; returns the report's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULT).write_text(json.dumps(outcome.result, indent=1) + "\n", encoding="utf-8")
    write_csv(outcome.records, outcome.plan.warm_up, outcome.objectives, folder / REQUESTS)
    (folder / REPORT).write_text(as_html(outcome), encoding="utf-8")
    return folder / REPORT


def as_html(outcome: Outcome, refresh: int = 0) -> str:
    """`refresh`: seconds after which a browser loads the page again; 0: never."""
    result, verdict = outcome.result, outcome.verdict
    headline = outcome.sentence.split(None, 1)[1] if len(verdict.reasons) < 2 else "for several reasons:"
    return page(
        "run.html",
        title=f"{verdict.status}: load test",
        refresh=refresh,
        subtitle=subtitle(result),
        status=verdict.status,
        headline=headline,
        reasons=[] if verdict.status == PASS else verdict.reasons,
        tiles=[
            (name, shown(figure, outcome.figures[figure]).removesuffix(" tokens/s")) for figure, name in TILES.items()
        ],
        gate=_gate(result),
        groups=_groups(outcome),
        cards=cards_of(outcome),
        regressions=_regressions(result),
        guard_note=result["guard"]["why_not"] or "Ratios against those that repeats had; tolerance learnt from them.",
        errors=_pairs("error", "requests", result["errors"]),
        facts=[*facts_table(result), ["drift", _drift(result["drift"])]],
        metrics=_pairs("series", "value", result.get("server_metrics", {})),
    )


def page(template: str, **values: Any) -> str:
    """A template of ours, filled."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(template).render(**{"refresh": 0, **values})


def subtitle(result: Mapping[str, Any]) -> str:
    """What was asked of which server, in a line."""
    plan = result["plan"]
    load = (
        f"{plan['users']} users" if plan["arrivals"] == "closed" else f"{plan['arrivals']}, {plan['rate']:g} requests/s"
    )
    return (
        f"{load} for {plan['duration']:.4g} s · {plan['workload']} prompts · speculation {plan['speculation']} · "
        f"verifier {result['verifier'] or 'unnamed'} · {plan['protocol']}"
    )


def facts_table(result: Mapping[str, Any]) -> Rows:
    """Where and how, so that it can be done again."""
    settings, machine = result.get("settings"), result["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items() if number)
    plan = ", ".join(f"{name} {value}" for name, value in result["plan"].items() if value != "")
    rows = [
        ["plan", plan],
        [
            "settings",
            f"{settings['file']}, sha256 {settings['sha256'][:16]}" if settings else "not known: a given server",
        ],
        ["machine", f"{machine['processor']}, {machine['memory_gib']} GiB, {machine['system']}"],
        ["versions", f"Python {machine['python']}, {versions}"],
        ["when", result.get("started", "")],
        [
            "generator",
            ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in result.get("generator", {}).items()),
        ],
        ["requests", f"{result['requests']} counted, {result['warm_up_requests']} of warm-up left out"],
    ]
    return [["what", ""], *(row for row in rows if row[1])]


def _pairs(name: str, value: str, amounts: Mapping[str, float]) -> Rows:
    """Nothing where there is nothing to show."""
    rows = [[key, f"{amount:g}"] for key, amount in amounts.items()]
    return [[name, value], *rows] if rows else []


def _drift(ratios: Mapping[str, float]) -> str:
    words = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
    return f"medians of the last quarter over the first: {words}" if words else "too few requests"


def _gate(result: Mapping[str, Any]) -> Rows:
    rows = [
        [each["figure"], each["bound"], shown(each["figure"], each["value"]), "yes" if each["holds"] else "no"]
        for each in result["gate"]
    ]
    return [["metric", "demanded", "measured", "holds"], *rows]


def _groups(outcome: Outcome) -> Rows:
    figures, domains = outcome.figures, outcome.result["domains"]
    rows = [["all", *(shown(figure, figures[figure]) for figure in GROUP_COLUMNS)]]
    for name in outcome.objectives.names:
        rows.append([name, *(shown(figure, figures[f"{name}.{figure}"]) for figure in GROUP_COLUMNS)])
    for name, own in domains.items():
        rows.append([name, *(shown(figure, own[figure]) for figure in GROUP_COLUMNS)])
    return [["", *GROUP_COLUMNS.values()], *([cell.replace("not measured", "–") for cell in row] for row in rows)]


def _regressions(result: Mapping[str, Any]) -> Rows:
    rows = [
        [
            each["ratio"],
            f"{each['value']:.2f}" if each["value"] is not None else "–",
            f"{each['expected']:.2f}",
            f"±{each['tolerance']:.0%}",
            "regressed" if each["regressed"] else "yes",
        ]
        for each in result["guard"]["ratios"]
    ]
    return [["ratio", "now", "before", "tolerance", "holds"], *rows] if rows else []
