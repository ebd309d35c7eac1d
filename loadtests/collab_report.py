"""The ablation's result as JSON, tables and plots."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from loadtests.collab_plan import fixed, ladder
from loadtests.collab_plots import plot_acceptance, plot_throughput, plot_timelines
from loadtests.collab_ratios import Ratio, ratios
from loadtests.workload import MIXED

Result = Mapping[str, Any]


def write_report(result: Result, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    result = {**result, "ratios": [ratio._asdict() for ratio in ratios(result)]}
    (directory / "collab.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (directory / "collab.md").write_text(as_markdown(result), encoding="utf-8")
    if result["acceptance"]:
        plot_acceptance(result["acceptance"], directory / "collab_acceptance.png")
    if any(pair["rows"] for pair in result["pairs"]):
        plot_throughput(result["pairs"], directory / "collab_throughput.png")
    if any(pair["timelines"] for pair in result["pairs"]):
        plot_timelines(result["pairs"], directory / "collab_timelines.png")


def as_markdown(result: Result) -> str:
    sections = [
        _head(result),
        _ratios([Ratio(**ratio) for ratio in result["ratios"]]),
        *(section for pair in result["pairs"] for section in _pair(pair)),
        _acceptance(result["acceptance"]),
        _temperatures(result["temperatures"]),
        _bls(result["bls"]),
        _nodes(result["nodes"]),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(result: Result) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items() if number)
    settings = result["settings"]
    return (
        f"Machine: {result['machine']['processor']}; {settings['dtype']}. Greedy unless a temperature is named, "
        f"interleaved repeats in shuffled order, medians. Settings {settings['sha256'][:12]} with the changes named; "
        f"{versions}."
    )


def _ratios(found: Sequence[Ratio]) -> str:
    rows = [[ratio.name, f"{ratio.value:.2f}", ratio.goal] for ratio in found]
    return table(["ratio", "value", "goal"], rows)


def _pair(pair: Result) -> Iterator[str]:
    millions = pair["num_parameters"] / 1e6
    changes = json.dumps(pair["settings"]) if pair["settings"] else "none"
    yield f"**{pair['name']}**: verifier of {millions:.0f}M parameters, drafters of 2.5M; changed settings: {changes}"
    mixed = [row for row in pair["rows"] if row["domain"] == MIXED]
    yield table(CELL_COLUMNS, [_cell(row) for row in sorted(mixed, key=_rung)])
    yield _domains([row for row in pair["rows"] if row["domain"] != MIXED])
    yield _scan(pair["scan"])


def _rung(row: Result) -> tuple[int, int]:
    """Where a row stands: by load, then as on the ladder."""
    names = [contender.name for contender in ladder(1, fixed("", 1))]
    return int(row["concurrency"]), names.index(row["contender"])


CELL_COLUMNS = [
    "contender",
    "concurrency",
    "tokens/s",
    "latency p50 ms",
    "TTFT p50 ms",
    "TPOT p50 ms",
    "mean acceptance length",
    "tokens a verifier pass",
    "right drafter first",
    "within 3 rounds",
    "orchestrator's share",
    "both stages busy",
    "rows a verifier batch",
    "same text as off",
]


def _cell(row: Result) -> list[str]:
    single = row["speculation"].startswith("fixed:")
    return [
        f"{row['contender']} ({row['speculation']})" if single else row["contender"],
        str(row["concurrency"]),
        f"{row['tokens_per_second']:.0f}",
        f"{row['latency_p50']:.0f}",
        f"{row['ttft_p50']:.1f}",
        f"{row['tpot_p50']:.2f}",
        f"{row['mean_acceptance_length']:.2f}",
        f"{row['tokens_per_pass']:.2f}",
        *(
            [""] * 2
            if single or row["speculation"] == "off"
            else _percentages(row, "right_at_first", "right_within_three")
        ),
        *_percentages(row, "orchestrator_share", "overlap"),
        f"{row['verifier_rows_per_execution']:.2f}",
        f"{row['identical']:.0%}",
    ]


def _percentages(row: Result, *names: str) -> list[str]:
    return [f"{row[name]:.0%}" for name in names]


def _domains(rows: Sequence[Result]) -> str:
    """One row a contender, one column a domain."""
    domains = sorted({row["domain"] for row in rows})
    by_contender: dict[str, dict[str, Result]] = {}
    for row in rows:
        by_contender.setdefault(row["contender"], {})[row["domain"]] = row
    lines = [
        [
            name,
            *(f"{row['tokens_per_second']:.0f} ({row['mean_acceptance_length']:.2f})" for row in _in(cells, domains)),
        ]
        for name, cells in by_contender.items()
    ]
    return titled(
        "One domain at a time, concurrency 1: tokens/s (mean acceptance length)", ["contender", *domains], lines
    )


def _in(cells: Mapping[str, Result], domains: Sequence[str]) -> list[Result]:
    return [cells[domain] for domain in domains]


def _scan(rows: Sequence[Result]) -> str:
    figures = {"speculation": "", "concurrency": "", "tokens_per_second": ".0f", "mean_acceptance_length": ".2f"}
    columns = ["single drafter", "concurrency", "tokens/s", "mean acceptance length"]
    return titled("The search for the best single drafter, one look each", columns, _lines(rows, figures))


def _acceptance(matrix: Mapping[str, Mapping[str, float]]) -> str:
    """Rows are domains: who is best here?"""
    drafters = list(matrix)
    lines = [[domain, *(f"{matrix[drafter][domain]:.2f}" for drafter in drafters)] for domain in drafters]
    return titled("Mean acceptance length of each drafter alone, by domain", ["domain", *drafters], lines)


def _temperatures(result: Result) -> str:
    if "offline" not in result:  # measured last
        return ""
    served = _lines(result["served"], {"contender": "", "temperature": "g", "mean_acceptance_length": ".2f"})
    offline = [
        [
            f"{row['temperature']:g}",
            *(f"{row[kind + '_acceptance_length']:.2f} ({row[kind + '_agreement']:.0%})" for kind in NOISES),
        ]
        for row in result["offline"]["temperatures"]
    ]
    return "\n\n".join(
        [
            titled("As served, by temperature", ["contender", "T", "mean acceptance length"], served),
            titled(
                "One chain of the domain's own drafter, by the drafter's noise: tokens a round (of tokens that agree)",
                ["T", *NOISES.values()],
                offline,
            ),
        ]
    )


NOISES = {
    "shared": "the verifier's noise, sample-and-match",
    "ratio_test": "its own, ratio test (one chain only)",
    "matched": "its own, sample-and-match",
}


def _bls(rows: Sequence[Result]) -> str:
    lines = [
        [
            row["contender"],
            str(row["concurrency"]),
            row["calls"],
            f"{row['tokens_per_second']:.0f}",
            f"{row['latency_p50']:.0f}",
            f"{row['verifier_rows_per_execution']:.2f}",
            ", ".join(f"{size}: {count}" for size, count in row["verifier_batches"].items()),
        ]
        for row in rows
    ]
    columns = ["contender", "concurrency", "calls", "tokens/s", "latency p50 ms", "rows a batch", "rows: batches"]
    return titled("One call to the verifier a sequence, or one a group", columns, lines)


def _nodes(rows: Sequence[Result]) -> str:
    figures = {"contender": "", "most_nodes": "", "nodes": ".1f", "mean_acceptance_length": ".2f"}
    columns = ["contender", "most nodes", "nodes a draft", "mean acceptance length", "tokens a verifier pass"]
    title = "Where nodes are not priced (`controller: fixed`), concurrency 1"
    return titled(title, columns, _lines(rows, {**figures, "tokens_per_pass": ".2f"}))


def _lines(rows: Sequence[Result], figures: Mapping[str, str]) -> list[list[str]]:
    """`figures`: key -> how it is written, as `format` takes it."""
    return [[format(row[name], how) for name, how in figures.items()] for row in rows]


def titled(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Empty without rows."""
    return f"{title}:\n\n{table(columns, rows)}" if rows else ""


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Empty without rows."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if rows else ""
