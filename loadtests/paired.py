"""Two running servers side by side: the same requests to one and then the other, again and again.

Each pair of cells gives one ratio of rates. The machine's drift falls on both cells of a pair, and which goes first
alternates, so that the median of many short pairs shows differences of a percent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from cospec_client import Client
from tqdm import tqdm

from loadtests.bench_plan import Cell, Mode, run_cell
from loadtests.metrics import percentile
from loadtests.workload import mixed_prompts, take


@dataclass(frozen=True)
class PairPlan:
    """`requests`: concurrency -> requests of one cell."""

    repeats: int
    max_tokens: int
    requests: dict[int, int]


@dataclass(frozen=True)
class PairedRates:
    """Tokens per second of two servers, one of each a repeat."""

    mode: str
    concurrency: int
    first: tuple[float, ...]
    second: tuple[float, ...]
    same_texts: bool

    @property
    def ratios(self) -> list[float]:
        """First over second."""
        return [one / other for one, other in zip(self.first, self.second, strict=True)]


def measure_pair(first: Client, second: Client, modes: Sequence[Mode], plan: PairPlan) -> list[PairedRates]:
    """One result per mode and concurrency. Raises `CospecError`."""
    places = [(mode, concurrency) for mode in modes for concurrency in plan.requests]
    cells: dict[tuple[str, int], list[tuple[Cell, Cell]]] = {(mode.name, number): [] for mode, number in places}
    with tqdm(total=(plan.repeats + 1) * len(places), desc="pairs", unit="pair") as progress:
        for repeat in range(plan.repeats + 1):  # the first warms up
            for mode, concurrency in places:
                pair = _run_both(first, second, mode, concurrency, plan, swapped=bool(repeat % 2))
                if repeat:
                    cells[mode.name, concurrency].append(pair)
                progress.update()
    return [_rates(mode, concurrency, pairs) for (mode, concurrency), pairs in cells.items()]


def _run_both(
    first: Client, second: Client, mode: Mode, concurrency: int, plan: PairPlan, swapped: bool
) -> tuple[Cell, Cell]:
    prompts = take(mixed_prompts(), plan.requests[concurrency])
    order = (second, first) if swapped else (first, second)
    one, other = (run_cell(client, mode, concurrency, prompts, plan.max_tokens) for client in order)
    return (other, one) if swapped else (one, other)


def _rates(mode: str, concurrency: int, pairs: Sequence[tuple[Cell, Cell]]) -> PairedRates:
    first = tuple(one.summary.tokens_per_second for one, _ in pairs)
    second = tuple(other.summary.tokens_per_second for _, other in pairs)
    same_texts = all(set(one.texts) == set(other.texts) for one, other in pairs)
    return PairedRates(mode, concurrency, first, second, same_texts)


def as_markdown(rates: Sequence[PairedRates], first: str, second: str) -> str:
    """A table; the columns' names are what the two servers are."""
    lines = [
        f"| mode | concurrency | {first}, tokens/s | {second}, tokens/s | ratio: median (quartiles) | same texts |",
        "|---|---|---|---|---|---|",
    ]
    for each in rates:
        quartiles = " to ".join(f"{percentile(each.ratios, share):.3f}" for share in (0.25, 0.75))
        lines.append(
            f"| {each.mode} | {each.concurrency} | {median(each.first):.0f} | {median(each.second):.0f} "
            f"| {median(each.ratios):.3f} ({quartiles}) | {'yes' if each.same_texts else 'no'} |"
        )
    return "\n".join(lines) + "\n"
