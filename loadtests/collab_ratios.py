"""What cooperation is measured by: ratios of one run's medians, each beside its goal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from loadtests.collab_plan import AUTO, FUSED, LOOKUP, PIPELINE
from loadtests.workload import MIXED

Result = Mapping[str, Any]
SINGLE = "best single drafter"


class Ratio(NamedTuple):
    name: str
    value: float
    goal: str = ""  # empty: none is set


def ratios(result: Result) -> list[Ratio]:
    """Of the parts that were measured."""
    found = list(_routing(result["routing"])) if result["routing"] else []
    found += _unpriced(result["nodes"]) if result["nodes"] else []
    for pair in result["pairs"]:
        rows = mixed_rows(pair)
        if rows:
            prefix = f"{pair['name']}: "
            every = [*_acceptance(pair, rows), *_rates(pair, rows), *_stages(rows)]
            found += [ratio._replace(name=prefix + ratio.name) for ratio in every]
    return found


def _unpriced(rows: Sequence[Result]) -> Iterator[Ratio]:
    """Of trees by several drafters over the routed chain, and over trees of the routed drafter alone."""
    lengths = {(row["contender"], row["most_nodes"]): float(row["mean_acceptance_length"]) for row in rows}
    [chain] = [length for (contender, _), length in lengths.items() if contender == "routed"]
    for (contender, most), length in lengths.items():
        if contender == "tree":
            name = f"mean acceptance length where nodes are not priced, tree of at most {most} over"
            yield Ratio(f"{name} routed", length / chain, "≥ 1.15")
            yield Ratio(f"{name} that of one drafter", length / lengths["tree of one drafter", most])


def mixed_rows(pair: Result) -> dict[tuple[str, int], Result]:
    """(contender, concurrency) -> its row, over all domains alike."""
    return {(row["contender"], row["concurrency"]): row for row in pair["rows"] if row["domain"] == MIXED}


def best_fused(rows: Mapping[tuple[str, int], Result], concurrency: int, figure: str) -> Result:
    """The row with the most of `figure`."""
    return max((rows[name, concurrency] for name in FUSED), key=lambda row: float(row[figure]))


def _routing(row: Result) -> Iterator[Ratio]:
    yield Ratio("right drafter in the first round", row["right_at_first"], "≥ 0.85")
    yield Ratio("right drafter within three rounds", row["right_within_three"], "≥ 0.95")


def _acceptance(pair: Result, rows: Mapping[tuple[str, int], Result]) -> Iterator[Ratio]:
    length = "mean_acceptance_length"
    best, single = best_fused(rows, 1, length), rows[SINGLE, 1]
    over = f"mean acceptance length, {best['contender']} over"
    yield Ratio(f"{over} routed", best[length] / rows["routed", 1][length], "≥ 1.15")
    yield Ratio(f"{over} the best single drafter ({single['speculation']})", best[length] / single[length], "≥ 1.4")
    most = max((row for row in pair["scan"] if row["concurrency"] == 1), key=lambda row: float(row[length]))
    # Other prompts and shorter texts than the ladder's; but no drafter alone has more, at any depth.
    yield Ratio(
        f"{over} the single drafter with the most accepted ({most['speculation']})", best[length] / most[length]
    )


def _rates(pair: Result, rows: Mapping[tuple[str, int], Result]) -> Iterator[Ratio]:
    for concurrency in sorted({level for _, level in rows}):
        best, single, off = (
            best_fused(rows, concurrency, "tokens_per_second"),
            rows[SINGLE, concurrency],
            rows["off", concurrency],
        )
        costly, name = not pair["is_bundle"], f"concurrency {concurrency}, {best['contender']} over"
        alone, many = costly and concurrency == 1, costly and concurrency == 16
        if concurrency == 1:
            value = best["latency_p50"] / single["latency_p50"]
            yield Ratio(f"latency at {name} the best single drafter", value, "≤ 0.75" if alone else "")
        value = best["tokens_per_second"] / single["tokens_per_second"]
        yield Ratio(f"tokens/s at {name} the best single drafter", value, "≥ 1.35" if many else "")
        value = best["tokens_per_second"] / off["tokens_per_second"]
        yield Ratio(f"tokens/s at {name} off", value, "≥ 3" if alone else "")


def _stages(rows: Mapping[tuple[str, int], Result]) -> Iterator[Ratio]:
    for concurrency in sorted({level for _, level in rows if level > 1}):
        goal = "≤ 0.15" if concurrency == 32 else ""
        for name in (LOOKUP, AUTO):
            value = rows[name, concurrency]["orchestrator_share"]
            yield Ratio(f"orchestrator's share of the time at concurrency {concurrency}, {name}", value, goal)
        for name, groups in ((LOOKUP, "one group"), (PIPELINE, "two groups")):
            value = rows[name, concurrency]["overlap"]
            yield Ratio(
                f"share of the time with both stages busy at concurrency {concurrency}, {groups} in flight", value
            )
