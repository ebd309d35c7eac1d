"""A sweep on disk: report, JSON and CSV."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loadtests.slo.cards import Card, colours_of
from loadtests.slo.report import REPORT, Rows, facts_table, page, subtitle
from loadtests.slo.svg import Limit, Line, line_chart
from loadtests.slo.verdict import shown

FIGURES = {
    "offered_rps": "offered",
    "attainment": "attained",
    "goodput_rps": "goodput",
    "throughput_tps": "throughput",
    "ttft_p99_ms": "TTFT p99",
    "tpot_p50_ms": "TPOT p50",
    "tpot_p99_ms": "TPOT p99",
    "acceptance_length": "acceptance",
    "schedule_lag_p99_ms": "generator lag p99",
}


def write_sweep(result: Mapping[str, Any], folder: Path) -> Path:
    """Returns the report's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    _write_csv(result["modes"], folder / "sweep.csv")
    (folder / REPORT).write_text(as_html(result), encoding="utf-8")
    return folder / REPORT


def as_html(result: Mapping[str, Any]) -> str:
    plan = {**result["plan"], "rate": 0.0}
    return page(
        "comparison.html",
        title="Rate sweep",
        heading="Rate sweep",
        subtitle=subtitle({**result, "plan": plan}).replace("0 requests/s", "rising rates"),
        headline=tuple(result["headline"].split(None, 1)),
        rows=_knees(result),
        details=("Every rate tried", _trials(result["modes"])),
        cards=_cards(result),
        facts=facts_table({**result, "requests": _total(result), "warm_up_requests": 0})[:-1],
    )


def _knees(result: Mapping[str, Any]) -> Rows:
    rows = [
        [
            row["mode"],
            f"{row['knee_rps']:.2f}/s" if row["knee_rps"] else "below every rate tried",
            f"{row['not_attained_rps']:.2f}/s" if row["not_attained_rps"] else "–",
            "yes" if row["valid"] else "no",
        ]
        for row in result["modes"]
    ]
    target = result["sweep"]["target"]
    return [["speculation", f"highest rate with {target:.0%} attained", "lowest without", "generator in time"], *rows]


def _trials(modes: Sequence[Mapping[str, Any]]) -> Rows:
    rows = [
        [row["mode"], f"{trial['rate']:.2f}/s", *(shown(figure, trial[figure]) for figure in FIGURES)]
        for row in modes
        for trial in row["trials"]
    ]
    return [
        ["speculation", "rate", *FIGURES.values()],
        *([cell.replace("not measured", "–") for cell in row] for row in rows),
    ]


def _cards(result: Mapping[str, Any]) -> list[Card]:
    target = Limit(f"target {result['sweep']['target']:.0%}", 4, y=result["sweep"]["target"])
    return [
        _card(result, "attainment", "Attainment", "share", (target,), top=1.0),
        _card(result, "goodput_rps", "Goodput", "1/s"),
        _card(result, "throughput_tps", "Throughput", "tokens/s"),
        _card(result, "ttft_p99_ms", "First token, p99", "ms", log_y=True),
        _card(result, "tpot_p50_ms", "Time per output token, p50", "ms"),
        _card(result, "tpot_p99_ms", "Time per output token, p99", "ms", log_y=True),
    ]


def _card(
    result: Mapping[str, Any], figure: str, title: str, unit: str, limits: Sequence[Limit] = (), **style: Any
) -> Card:
    colours = colours_of([row["mode"] for row in result["modes"]])
    lines = [
        Line(
            row["mode"],
            [(trial["offered_rps"], trial[figure]) for trial in _by_load(row["trials"])],
            colours[row["mode"]],
            marked=True,
        )
        for row in result["modes"]
    ]
    return Card(title, "", line_chart(lines, "offered requests/s", unit, limits, **style), tuple(colours.items()))


def _by_load(trials: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(trials, key=lambda trial: float(trial["offered_rps"]))


def _total(result: Mapping[str, Any]) -> int:
    return sum(len(row["trials"]) for row in result["modes"])


def _write_csv(modes: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A row a trial."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["mode", *modes[0]["trials"][0]])
        writer.writeheader()
        writer.writerows({"mode": row["mode"], **trial} for row in modes for trial in row["trials"])
