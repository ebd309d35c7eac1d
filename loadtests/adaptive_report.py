"""The comparison of controllers as JSON, tables and plots."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

from loadtests.adaptive_plan import AUTO, CONTENDERS, FIXED, OFF
from loadtests.collab_report import table

Result = Mapping[str, Any]
NAMES = [mode.name for mode in CONTENDERS]
COLOURS = {name: f"C{place}" for place, name in enumerate(NAMES)}


class Ratio(NamedTuple):
    name: str
    value: float
    goal: str


def write_report(result: Result, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    found = {pair["name"]: [ratio._asdict() for ratio in ratios(pair)] for pair in result["pairs"]}
    text = json.dumps({**result, "ratios": found}, indent=1)
    (directory / "adaptive.json").write_text(text + "\n", encoding="utf-8")
    (directory / "adaptive.md").write_text(as_markdown(result), encoding="utf-8")
    if any(pair["sweep"] for pair in result["pairs"]):
        plot_sweep([pair for pair in result["pairs"] if pair["sweep"]], directory / "adaptive_sweep.png")
    if any(pair["replays"] for pair in result["pairs"]):
        plot_replays([pair for pair in result["pairs"] if pair["replays"]], directory / "adaptive_replays.png")


def rates_of(pair: Result) -> dict[str, dict[int, float]]:
    """Contender -> concurrency -> tokens per second."""
    rates: dict[str, dict[int, float]] = {}
    for row in pair["sweep"]:
        rates.setdefault(row["contender"], {})[row["concurrency"]] = row["tokens_per_second"]
    return rates


def ratios(pair: Result) -> list[Ratio]:
    return [*_sweep_ratios(pair["sweep"]), *_replay_ratios(pair["replays"]), *_foretold(pair)]


def _sweep_ratios(rows: Sequence[Result]) -> list[Ratio]:
    if not rows:
        return []
    over = over_others(rows)
    least = {name: min(by_level.values()) for name, by_level in over.items()}
    fixed = min(_geometric_mean(over[mode.name]) for mode in FIXED)
    return [
        Ratio("least, ours / best of all at the same concurrency", min(least.values()), ">= 0.97"),
        Ratio("least, ours / off at the same concurrency", least[OFF.name], ">= 1.0"),
        Ratio("geometric mean, ours / best fixed", fixed, ">= 1.25"),
        Ratio("geometric mean, ours / off", _geometric_mean(over[OFF.name]), ""),
    ]


def over_others(rows: Sequence[Result]) -> dict[str, dict[int, float]]:
    """Contender -> concurrency -> ours over it: the median over repeats, in each of which both ran within minutes."""
    ours = {row["concurrency"]: row["rates"] for row in rows if row["contender"] == AUTO.name}
    over: dict[str, dict[int, float]] = {}
    for row in rows:
        if row["contender"] != AUTO.name:
            pairs = zip(ours[row["concurrency"]], row["rates"], strict=True)
            over.setdefault(row["contender"], {})[row["concurrency"]] = median(mine / other for mine, other in pairs)
    return over


def _geometric_mean(rates: Mapping[int, float]) -> float:
    return math.exp(sum(map(math.log, rates.values())) / len(rates))


def _replay_ratios(replays: Sequence[Result]) -> list[Ratio]:
    """At the lowest rate at which the fixed draft length keeps fewer than 90% of its promises."""
    by_rate: dict[float, dict[str, Result]] = {}
    for row in replays:
        by_rate.setdefault(row["rate"], {})[row["contender"]] = row
    for rate, rows in sorted(by_rate.items()):
        [fixed] = [row for name, row in rows.items() if name not in (OFF.name, AUTO.name)]
        if fixed["attainment"] < 0.9:
            ours, off = rows[AUTO.name], rows[OFF.name]
            goodput = ours["goodput"] / max(fixed["goodput"], 1e-9)
            return [
                Ratio(f"goodput at {rate:g} requests/s, ours / best fixed", goodput, ">= 1.5"),
                Ratio(f"attainment at {rate:g} requests/s, ours", ours["attainment"], ""),
                Ratio(f"p99 TPOT at {rate:g} requests/s, ours / off", ours["tpot_p99"] / off["tpot_p99"], "<= 1"),
            ]
    return []


def _foretold(pair: Result) -> list[Ratio]:
    found = []
    if pair["cost_errors"]:
        found += [
            Ratio("cost model, median error", pair["cost_errors"]["median"], "<= 0.10"),
            Ratio("cost model, p90 error", pair["cost_errors"]["p90"], "<= 0.25"),
        ]
    gaps = [abs(row["simulated"]["attainment"] - row["attainment"]) for row in pair["replays"] if row["simulated"]]
    rates = [
        abs(row["simulated"]["goodput"] / max(row["goodput"], 1e-9) - 1) for row in pair["replays"] if row["simulated"]
    ]
    if gaps:
        found += [
            Ratio("simulator, median error of goodput", sorted(rates)[len(rates) // 2], "<= 0.15"),
            Ratio("simulator, median error of attainment", sorted(gaps)[len(gaps) // 2], "<= 0.15"),
        ]
    return found


def as_markdown(result: Result) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items() if number)
    sections = [f"Machine: {result['machine']['processor']}. Greedy, medians of interleaved repeats. {versions}."]
    for pair in result["pairs"]:
        sections += [section for section in _pair(pair) if section]
    return "\n\n".join(sections) + "\n"


def _pair(pair: Result) -> list[str]:
    millions, promises = pair["num_parameters"] / 1e6, pair["promises_ms"]
    return [
        f"**{pair['name']}**: verifier of {millions:.0f}M parameters; answers of {pair['max_tokens']} tokens "
        f"on average, in replays of {pair['replay_tokens']}; "
        f"replays promise a TTFT of {promises['ttft']:g} ms and a TPOT of {promises['tpot']:g} ms",
        table(["figure", "value", "goal"], [[each.name, f"{each.value:.2f}", each.goal] for each in ratios(pair)]),
        _sweep_table(pair),
        _depth_table(pair),
        _replay_table(pair),
    ]


def _sweep_table(pair: Result) -> str:
    rates = rates_of(pair)
    if not rates:
        return ""
    levels = sorted(rates[OFF.name])
    rows = [[name, *(f"{rates[name][level]:.0f}" for level in levels)] for name in NAMES if name in rates]
    identical = min(row["identical"] for row in pair["sweep"])
    note = f"Tokens/s by concurrency; the same text as without drafts: {identical:.1%} at the least."
    over = over_others(pair["sweep"])
    compared = [[name, *(f"{over[name][level]:.2f}" for level in levels)] for name in NAMES if name in over]
    head = ["contender", *map(str, levels)]
    ratios_note = "Ours over each, the median of repeats in which all took turns:"
    return "\n\n".join([note, table(head, rows), ratios_note, table(head, compared)])


def _depth_table(pair: Result) -> str:
    rows = [
        [str(row["concurrency"]), f"{row['drafted_share']:.0%}", f"{row['draft_tokens_per_round']:.1f}"]
        for row in sorted(pair["depths"], key=lambda row: row["concurrency"])
    ]
    return table(["concurrency", "rounds with a draft, ours", "draft tokens a round"], rows) if rows else ""


def _replay_table(pair: Result) -> str:
    rows = [
        [
            f"{row['rate']:g}",
            row["contender"],
            f"{row['attainment']:.0%}",
            f"{row['goodput']:.2f}",
            f"{row['tokens_per_second']:.0f}",
            f"{row['ttft_p99']:.0f}",
            f"{row['tpot_p50']:.1f}",
            f"{row['tpot_p99']:.1f}",
            f"{row['simulated']['attainment']:.0%}" if row["simulated"] else "",
            f"{row['simulated']['goodput']:.2f}" if row["simulated"] else "",
        ]
        for row in pair["replays"]
    ]
    names = ["requests/s", "contender", "attainment", "goodput/s", "tokens/s", "TTFT p99 ms", "TPOT p50 ms"]
    return table([*names, "TPOT p99 ms", "simulated attainment", "simulated goodput/s"], rows) if rows else ""


def plot_sweep(pairs: Sequence[Result], path: Path) -> None:
    """Throughput by load, and what ours drafted."""
    figure, grid = plt.subplots(2, len(pairs), figsize=(6 * len(pairs), 7), layout="constrained", squeeze=False)
    for column, pair in enumerate(pairs):
        rates, above, below = rates_of(pair), grid[0][column], grid[1][column]
        for name in NAMES:
            levels = sorted(rates[name])
            wide = 2.6 if name == AUTO.name else 1.2
            above.plot(levels, [rates[name][at] for at in levels], "o-", ms=3, lw=wide, color=COLOURS[name], label=name)
        above.set(xscale="log", yscale="log", title=pair["name"], xlabel="concurrency", ylabel="tokens/s")
        above.legend(frameon=False, fontsize=8)
        rows = sorted(pair["depths"], key=lambda row: row["concurrency"])
        below.plot(
            [row["concurrency"] for row in rows], [row["draft_tokens_per_round"] for row in rows], "o-", color="k"
        )
        below.set(xscale="log", xlabel="concurrency", ylabel="draft tokens a round, ours")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plot_replays(pairs: Sequence[Result], path: Path) -> None:
    """Promises kept, by load."""
    figure, grid = plt.subplots(2, len(pairs), figsize=(6 * len(pairs), 7), layout="constrained", squeeze=False)
    for column, pair in enumerate(pairs):
        for row, (figure_name, label) in enumerate((("attainment", "attainment"), ("goodput", "goodput, requests/s"))):
            axis = grid[row][column]
            for name in dict.fromkeys(each["contender"] for each in pair["replays"]):
                chosen = [each for each in pair["replays"] if each["contender"] == name]
                rates = [each["rate"] for each in chosen]
                axis.plot(rates, [each[figure_name] for each in chosen], "o-", color=COLOURS[name], label=name)
                told = [each["simulated"][figure_name] if each["simulated"] else math.nan for each in chosen]
                axis.plot(rates, told, ":", color=COLOURS[name])
            axis.set(xlabel="requests/s (dotted: simulated)", ylabel=label, title=pair["name"])
            axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
