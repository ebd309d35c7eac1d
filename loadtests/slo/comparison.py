"""Runs side by side: a table for the terminal, and a page with their distributions on common axes."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests.bad_input import BadInput
from loadtests.slo.cards import Card, colours_of, distribution, distribution_chart
from loadtests.slo.report import REQUESTS, RESULT, Rows, facts_table, page
from loadtests.slo.svg import Line, bar_chart, line_chart
from loadtests.slo.verdict import shown

FIGURES = {
    "attainment": "attained",
    "goodput_rps": "goodput",
    "throughput_tps": "throughput",
    "ttft_p50_ms": "TTFT p50",
    "ttft_p99_ms": "TTFT p99",
    "tpot_p50_ms": "TPOT p50",
    "tpot_p99_ms": "TPOT p99",
    "e2e_p50_ms": "end to end p50",
    "e2e_p99_ms": "end to end p99",
    "acceptance_length": "acceptance length",
    "failed_share": "failed",
    "schedule_lag_p99_ms": "generator lag p99",
}
EXPECTED_TO_DIFFER = ("speculation", "characters_per_token")


@dataclass(frozen=True)
class Run:
    """`times`: milliseconds of every counted request that ended well, by column of `requests.csv`."""

    name: str
    result: Mapping[str, Any]
    times: Mapping[str, Sequence[float]]


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Folders of runs, or their `result.json`. Raises `BadInput`."""
    results = [_read(path) for path in paths]
    modes = [result["plan"]["speculation"] for result in results]
    folders = [(path if path.is_dir() else path.parent).resolve() for path in paths]
    names = modes if len(set(modes)) == len(modes) else [folder.name for folder in folders]
    if len(set(names)) < len(names):
        raise BadInput(f"the same run is named twice: {', '.join(names)}")
    return [Run(*triple) for triple in zip(names, results, map(_times, folders), strict=True)]


def as_table(runs: Sequence[Run]) -> Rows:
    """A row a figure; the later runs' ratios to the first behind their values."""
    first = runs[0].result["figures"]
    rows = [
        [
            title,
            *(
                _beside(figure, run.result["figures"][figure], first[figure] if number else None)
                for number, run in enumerate(runs)
            ),
        ]
        for figure, title in FIGURES.items()
    ]
    return [["", *(run.name for run in runs)], *rows]


def as_text(runs: Sequence[Run]) -> str:
    rows = as_table(runs)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    return "\n".join([*lines, *differences(runs)])


def differences(runs: Sequence[Run]) -> list[str]:
    """What was not the same, beside how they speculated: sentences."""
    plans = [run.result["plan"] for run in runs]
    names = [
        name for name in plans[0] if name not in EXPECTED_TO_DIFFER and len({str(plan.get(name)) for plan in plans}) > 1
    ]
    said = [f"other {name}: {', '.join(str(plan.get(name)) for plan in plans)}" for name in names]
    for name in ("verifier", "machine", "settings", "versions"):
        if len({json.dumps(run.result.get(name), sort_keys=True) for run in runs}) > 1:
            said.append(f"other {name}")
    return said


def as_html(runs: Sequence[Run]) -> str:
    said = differences(runs)
    return page(
        "comparison.html",
        title="Runs side by side",
        heading="Runs side by side",
        subtitle="; ".join(said) if said else "The same plan, verifier, settings and machine.",
        headline=None,
        rows=as_table(runs),
        details=None,
        cards=_cards(runs),
        facts=facts_table(runs[0].result),
    )


def _cards(runs: Sequence[Run]) -> list[Card]:
    colours = colours_of([run.name for run in runs])
    legend = tuple(colours.items())
    titles = {"ttft_ms": "Time to the first token", "tpot_ms": "Time per output token", "e2e_ms": "End to end"}
    cards = [
        Card(
            title,
            "",
            distribution_chart(
                [distribution(run.name, [ms / 1e3 for ms in run.times[column]], colours[run.name]) for run in runs]
            ),
            legend,
        )
        for column, title in titles.items()
    ]
    attained = bar_chart({run.name: run.result["figures"]["attainment"] for run in runs}, colours)
    return [*cards, Card("Attainment", "", attained), *_courses(runs, colours)]


def _courses(runs: Sequence[Run], colours: Mapping[str, int]) -> list[Card]:
    titles = {
        "goodput_rps": ("Goodput over time", "1/s"),
        "acceptance_length": ("Tokens a round with a draft brings", "tokens"),
    }
    return [
        Card(
            title,
            "",
            line_chart(
                [
                    Line(
                        run.name,
                        list(zip(run.result["course"]["seconds"], run.result["course"][key], strict=True)),
                        colours[run.name],
                    )
                    for run in runs
                ],
                "s",
                unit,
            ),
            tuple(colours.items()),
        )
        for key, (title, unit) in titles.items()
    ]


def _beside(figure: str, value: float | None, first: float | None) -> str:
    ratio = f"  {value / first:.2f}x" if value is not None and first else ""
    return shown(figure, value).replace("not measured", "–") + ratio


def _read(path: Path) -> dict[str, Any]:
    file = path / RESULT if path.is_dir() else path
    try:
        result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        assert {"plan", "figures", "course"} <= result.keys()
    except (OSError, ValueError, AssertionError, AttributeError):
        raise BadInput(
            f"{path} is no run: it must be a folder with a {RESULT}, as `python -m loadtests run` makes"
        ) from None
    return result


def _times(folder: Path) -> dict[str, list[float]]:
    try:
        with (folder / REQUESTS).open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["counted"] == "1" and row["outcome"] == "ok"]
    except OSError:
        raise BadInput(f"{folder} has no {REQUESTS}") from None
    return {column: [float(row[column]) for row in rows] for column in ("ttft_ms", "tpot_ms", "e2e_ms")}
