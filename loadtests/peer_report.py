"""The comparison with other engines as JSON, tables and a plot."""

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

from loadtests.peer_plan import AUTO, COSPEC, OPENVINO, OWN

Result = dict[str, Any]
COLOURS = {COSPEC: "C0", OPENVINO: "C1", "transformers": "C2"}


def write_report(result: Result, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    pairs = [{**pair, "ratios": ratios(pair)} for pair in result["pairs"]]
    result = {**result, "pairs": pairs}
    (directory / "peers.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (directory / "peers.md").write_text(as_markdown(result), encoding="utf-8")
    plot(result, directory / "peers.png")


def ratios(pair: Result) -> dict[str, float]:
    """CoSpec's `auto` over the other engine's best; below 1 is a loss. Empty where CoSpec was not measured."""
    auto = {row["concurrency"]: row["tokens_per_second"] for row in _rows(pair, COSPEC) if row["drafter"] == AUTO}
    if not auto:
        return {}
    openvino = _rows(pair, OPENVINO)
    plain = {row["concurrency"]: row["tokens_per_second"] for row in openvino if not row["drafter"]}
    drafting = max(row["tokens_per_second"] for row in openvino if _is_single(row) and row["concurrency"] == 1)
    best = max(row["tokens_per_second"] for row in openvino if row["concurrency"] == 8)
    assisted = pair["transformers"]["transformers assisted"]
    return {
        "auto over OpenVINO GenAI without a drafter, concurrency 1": auto[1] / plain[1],
        "auto over OpenVINO GenAI with its best single drafter, concurrency 1": auto[1] / drafting,
        "auto over OpenVINO GenAI at its best, concurrency 8": auto[8] / best,
        "auto over transformers assisted, concurrency 1": auto[1] / assisted,
    }


def _rows(pair: Result, system: str) -> list[Result]:
    return [row for row in pair["rows"] if row["system"] == system]


def _is_single(row: Result) -> bool:
    return row["drafter"] not in ("", OWN)


def as_markdown(result: Result) -> str:
    versions = result["versions"] | result["pairs"][0]["peer_versions"]
    numbers = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
    head = (
        f"Machine: {result['machine']['processor']}; 16-bit weights, {result['settings']['dtype']} arithmetic. Greedy, "
        f"{result['max_tokens']} tokens a request, {result['repeats']} interleaved repeats, medians. {numbers}.\n"
    )
    return "\n".join([head, *(_pair_section(pair) for pair in result["pairs"])])


def _pair_section(pair: Result) -> str:
    lines = [
        f"**{pair['name']}**: verifier of {pair['num_parameters'] / 1e6:.0f}M parameters, drafters of 2.5M",
        "",
        "| engine | how | concurrency | tokens/s | latency p50 ms | mean acceptance length "
        f"| same text as {pair['reference']} without a drafter |",
        "|---|---|---|---|---|---|---|",
        *map(_line, sorted(pair["rows"], key=lambda row: row["concurrency"])),
        *(f"| {name} | | 1 | {rate:.0f} | | | |" for name, rate in pair["transformers"].items()),
    ]
    if pair["ratios"]:
        lines += ["", "| ratio | value |", "|---|---|"]
        lines += [f"| {name} | {value:.2f} |" for name, value in pair["ratios"].items()]
    return "\n".join(lines) + "\n"


def _line(row: Result) -> str:
    return (
        f"| {row['system']} | {row['contender']} | {row['concurrency']} | {row['tokens_per_second']:.0f} "
        f"| {row['latency_p50']:.0f} | {row['mean_acceptance_length']:.2f} | {row['identical']:.0%} |"
    )


def plot(result: Result, path: Path) -> None:
    """A row of axes a pair, a column a concurrency; a bar an engine's way to answer."""
    pairs = result["pairs"]
    figure, grid = plt.subplots(len(pairs), 2, figsize=(11, 4 * len(pairs)), layout="constrained", squeeze=False)
    for axes, pair in zip(grid, pairs, strict=True):
        for axis, concurrency in zip(axes, (1, 8), strict=True):
            _draw(axis, bars(pair, concurrency))
            millions = pair["num_parameters"] / 1e6
            axis.set(title=f"verifier of {millions:.0f}M, concurrency {concurrency}", xlabel="tokens/s")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def bars(pair: Result, concurrency: int) -> list[tuple[str, str, float]]:
    """(engine, label, tokens per second), from the top."""
    rows = [row for row in pair["rows"] if row["concurrency"] == concurrency]
    found = [(row["system"], f"{row['system']}: {row['contender']}", row["tokens_per_second"]) for row in rows]
    if concurrency == 1:
        found += [("transformers", name, rate) for name, rate in pair["transformers"].items()]
    return found


def _draw(axis: Any, drawn: list[tuple[str, str, float]]) -> None:
    engines, labels, rates = zip(*drawn, strict=True)
    colours = [COLOURS.get(engine, "C7") for engine in engines]
    axis.bar_label(axis.barh(labels, rates, color=colours), fmt="%.0f", padding=2, fontsize=8)
    axis.invert_yaxis()
    axis.margins(x=0.15)
