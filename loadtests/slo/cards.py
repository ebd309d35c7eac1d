"""The charts of a run's report, each with a title, a note and a legend."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadtests.generator.record import Record
from loadtests.objectives import Objective
from loadtests.slo.figures import TIMES, measured
from loadtests.slo.outcome import Outcome
from loadtests.slo.svg import Limit, Line, bar_chart, column_chart, line_chart, stacked_chart

MOST_POINTS = 160  # of a distribution's line
NUM_COLOURS = 6


@dataclass(frozen=True)
class Card:
    """`legend`: (name, number of its colour)."""

    title: str
    note: str
    svg: str
    legend: tuple[tuple[str, int], ...] = ()


def cards_of(outcome: Outcome) -> list[Card]:
    return [*_distributions(outcome), _attainment(outcome), *_courses(outcome.result), *_drafting(outcome.result)]


def colours_of(names: Sequence[str]) -> dict[str, int]:
    return {name: number % NUM_COLOURS + 1 for number, name in enumerate(names)}


def distribution(name: str, values: Sequence[float], colour: int) -> Line:
    """The share of values that are at most x; x in milliseconds."""
    ordered = sorted(value * 1e3 for value in values)
    ranks = (
        sorted({round(rank * (len(ordered) - 1) / MOST_POINTS) for rank in range(MOST_POINTS + 1)}) if ordered else []
    )
    return Line(name, [(max(ordered[rank], 0.01), (rank + 1) / len(ordered)) for rank in ranks], colour)


def distribution_chart(lines: Sequence[Line], limits: Sequence[Limit] = ()) -> str:
    return line_chart(lines, "ms", "share of requests", limits, log_x=True, top=1.0)


def _distributions(outcome: Outcome) -> list[Card]:
    titles = {
        "ttft": ("Time to the first token", "ttft_ms"),
        "tpot": ("Time per output token", "tpot_ms"),
        "e2e": ("End to end", "e2e_ms"),
    }
    counted = [record for record in measured(outcome.records, outcome.plan) if record.is_ok]
    classes = outcome.objectives.classes
    cards = [_by_class(title, TIMES[name], limit, counted, classes) for name, (title, limit) in titles.items()]
    gaps = distribution("all", [gap for record in counted for gap in record.gaps], 1)
    note = "Speculation brings several tokens at a time, so this is not the time per token."
    return [*cards, Card("Between chunks", note, distribution_chart([gaps]))]


def _by_class(
    title: str,
    times: Callable[[Record], Any],
    limit: str,
    records: Sequence[Record],
    classes: Sequence[Objective],
) -> Card:
    colours = colours_of([objective.name for objective in classes])
    lines = [
        distribution(
            each.name,
            [value for record in records if record.slo_class == each.name for value in times(record)],
            colours[each.name],
        )
        for each in classes
    ]
    promised = {each.name: getattr(each, limit) for each in classes if getattr(each, limit) is not None}
    limits = [Limit(f"{name}: {value:g} ms", colours[name], x=value) for name, value in promised.items()]
    words = ", ".join(f"{name} {value:g} ms" for name, value in promised.items())
    note = f"Objectives, dashed: {words}." if words else ""
    return Card(title, note, distribution_chart(lines, limits), tuple(colours.items()))


def _attainment(outcome: Outcome) -> Card:
    names = outcome.objectives.names
    bars = {"all": outcome.figures["attainment"], **{name: outcome.figures[f"{name}.attainment"] for name in names}}
    target = next((rule.low for rule in outcome.objectives.gate if rule.figure == "attainment"), None)
    note = "Requests that end well and within all limits of their class." + (f" Mark: {target:.0%}." if target else "")
    return Card("Attainment", note, bar_chart(bars, colours_of(names) | {"all": 5}, target))


def _courses(result: Mapping[str, Any]) -> list[Card]:
    course = result["course"]

    def line(key: str, name: str, colour: int, **style: bool) -> Line:
        return Line(name, list(zip(course["seconds"], course[key], strict=True)), colour, **style)

    rates = [
        line("offered_rps", "offered", 4, dashed=True),
        line("completed_rps", "answered", 2),
        line("goodput_rps", "within objectives", 1, filled=True),
    ]
    waits = [line("ttft_p99_ms", "p99", 3), line("ttft_p50_ms", "p50", 1)]
    warm_up = f"The first {result['plan']['warm_up']:g} s are warm-up and count nowhere else."
    return [
        _course_card("Requests per second", warm_up, rates, "1/s"),
        _course_card("Tokens per second", "", [line("tokens_per_second", "tokens", 1, filled=True)], "tokens/s"),
        _course_card("First token over time", "By when a request should have been sent.", waits, "ms"),
    ]


def _drafting(result: Mapping[str, Any]) -> list[Card]:
    course = result["course"]
    names = {"draft_length": ("tokens in a draft", 2), "acceptance_length": ("tokens a round brings", 1)}
    lines = [
        Line(name, list(zip(course["seconds"], course[key], strict=True)), colour)
        for key, (name, colour) in names.items()
    ]
    shares = result["drafter_shares"]
    colours = colours_of(sorted({drafter for row in shares.values() for drafter in row}))
    return [
        _course_card("Draft length and acceptance", "Of rounds with a draft.", lines, "tokens"),
        Card(
            "Who drafted, by domain",
            "Shares of the draft tokens.",
            stacked_chart(shares, colours),
            tuple(colours.items()),
        ),
        Card(
            "Accepted, by place in the draft",
            "Share of the rounds with a draft in which the token there was accepted.",
            column_chart(result["accepted_per_depth"], "place in the draft", "share of rounds"),
        ),
    ]


def _course_card(title: str, note: str, lines: Sequence[Line], unit: str) -> Card:
    legend = tuple((line.name, line.colour) for line in lines)
    return Card(title, note, line_chart(lines, "s", unit), legend if len(lines) > 1 else ())
