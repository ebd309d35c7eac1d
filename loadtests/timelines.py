"""When drafting and verification ran at the same time, from the timelines of requests on one server's clock."""

from collections.abc import Iterable, Sequence

Moments = Sequence[float]  # of a round: when drafting began, when verification began, when it ended
Interval = tuple[float, float]


def overlap_share(timelines: Iterable[Sequence[Moments]]) -> float:
    """Share of the time, from the first drafting to the last verification, in which both stages were busy."""
    rounds = [moments for timeline in timelines for moments in timeline]
    if not rounds:
        return 0.0
    drafting = [(began, drafted) for began, drafted, _ in rounds]
    verifying = [(drafted, verified) for _, drafted, verified in rounds]
    both = length(drafting) + length(verifying) - length(drafting + verifying)
    span = max(verified for _, _, verified in rounds) - min(began for began, _, _ in rounds)
    return both / span if span else 0.0


def length(intervals: Iterable[Interval]) -> float:
    """Of the time that any of them covers."""
    covered, until = 0.0, float("-inf")
    for start, end in sorted(intervals):
        covered += max(0.0, end - max(start, until))
        until = max(until, end)
    return covered


def first_wave(timelines: Iterable[Sequence[Moments]], count: int) -> list[list[list[float]]]:
    """The `count` requests that began first, on a clock that starts with them."""
    ordered = sorted((timeline for timeline in timelines if timeline), key=lambda timeline: timeline[0][0])[:count]
    start = ordered[0][0][0] if ordered else 0.0
    return [[[round(moment - start, 3) for moment in moments] for moments in timeline] for timeline in ordered]
