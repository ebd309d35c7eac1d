"""Pictures of the ablation: who knows which domain, what each part brings, and how the two stages run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

from loadtests.collab_plan import FUSED
from loadtests.workload import MIXED

Result = Mapping[str, Any]
DRAFTING, VERIFYING = "C1", "C0"


def plot_acceptance(matrix: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Drafters down, domains across."""
    drafters, domains = list(matrix), list(next(iter(matrix.values())))
    values = [[matrix[drafter][domain] for domain in domains] for drafter in drafters]
    figure, axis = plt.subplots(figsize=(6, 4.2), layout="constrained")
    image = axis.imshow(values, cmap="viridis")
    axis.set_xticks(range(len(domains)), domains)
    axis.set_yticks(range(len(drafters)), drafters)
    axis.set(xlabel="domain of the prompt", ylabel="drafter", title="mean acceptance length")
    middle = (max(map(max, values)) + min(map(min, values))) / 2
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            axis.text(column, row, f"{value:.2f}", ha="center", va="center", color="w" if value < middle else "k")
    figure.colorbar(image)
    _save(figure, path)


def plot_throughput(pairs: Sequence[Result], path: Path) -> None:
    """A row of axes a pair, a column a concurrency."""
    shown = [pair for pair in pairs if pair["rows"]]
    levels = [sorted({row["concurrency"] for row in pair["rows"]}) for pair in shown]
    columns = max(map(len, levels))
    figure, grid = plt.subplots(
        len(shown), columns, figsize=(4.2 * columns, 3.2 * len(shown)), layout="constrained", squeeze=False
    )
    for axes, pair, concurrencies in zip(grid, shown, levels, strict=True):
        for axis in axes[len(concurrencies) :]:
            axis.set_visible(False)
        for axis, concurrency in zip(axes, concurrencies, strict=False):
            _draw_bars(axis, bars(pair, concurrency))
            axis.set(title=f"{pair['name']}, concurrency {concurrency}", xlabel="tokens/s")
    _save(figure, path)


def bars(pair: Result, concurrency: int) -> list[tuple[str, float]]:
    """(contender, tokens per second) over all domains alike; of a pair measured on single domains only, none."""
    found = [row for row in pair["rows"] if row["domain"] == MIXED and row["concurrency"] == concurrency]
    return [(row["contender"], row["tokens_per_second"]) for row in sorted(found, key=_rung)]


def _rung(row: Result) -> tuple[int, str]:
    """The ladder's order, which shuffled measuring has lost."""
    order = ("off", "best single drafter", "vote", "routed", *FUSED)
    return order.index(row["contender"]), row["contender"]


def _draw_bars(axis: Any, drawn: Sequence[tuple[str, float]]) -> None:
    names, rates = [name for name, _ in drawn], [rate for _, rate in drawn]
    colours = ["C0" if name in FUSED else "C7" for name in names]
    axis.bar_label(axis.barh(names, rates, color=colours), fmt="%.0f", padding=2, fontsize=8)
    axis.invert_yaxis()
    axis.margins(x=0.15)


def plot_timelines(pairs: Sequence[Result], path: Path) -> None:
    """A row of axes a pair, a column a contender; on each, a line a request."""
    shown = [pair for pair in pairs if pair["timelines"]]
    columns = max(len(pair["timelines"]) for pair in shown)
    figure, grid = plt.subplots(
        len(shown), columns, figsize=(6 * columns, 2.8 * len(shown)), layout="constrained", squeeze=False
    )
    for axes, pair in zip(grid, shown, strict=True):
        for axis, (name, requests) in zip(axes, sorted(pair["timelines"].items()), strict=False):
            _draw_stages(axis, requests)
            axis.set(title=f"{pair['name']}, {name}", xlabel="ms", ylabel="request")
    _save(figure, path)


def _draw_stages(axis: Any, requests: Sequence[Sequence[Sequence[float]]]) -> None:
    for number, rounds in enumerate(requests):
        axis.broken_barh([(began, drafted - began) for began, drafted, _ in rounds], (number, 0.8), color=DRAFTING)
        axis.broken_barh([(start, end - start) for _, start, end in rounds], (number, 0.8), color=VERIFYING)
    axis.legend(
        handles=[mpl.patches.Patch(color=DRAFTING), mpl.patches.Patch(color=VERIFYING)],
        labels=["drafting", "verification"],
        loc="upper right",
        fontsize=8,
    )
    axis.invert_yaxis()


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=130)
    plt.close(figure)
