"""Batch scheduling: which ready requests make the next round together (CoSine, batch scheduling).

Not first come, first served, and not a fixed size: a long request would stretch a whole batch, and a large batch would
break the promises made to some. Of the sets of similar length with the request that must go first, the one with the
least cost per request, under a bound on the round's latency and on the tokens to verify. Memory is bounded before: only
requests that hold a slot are ready.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

Seconds = Callable[[int, int, int], float]  # rows, draft tokens, longest context -> of a round

PATIENCE = 8  # rounds after which even a request without promises goes first
AHEAD = 4.0  # rounds by which those with promises are to be ahead of them, for those without to take part
NOTICEABLE = 0.97  # of a round's time, at most, that it takes without them: else nobody gains by their waiting


@dataclass(frozen=True)
class Limits:
    """Of one round."""

    requests: int
    verify_tokens: int
    seconds: float
    seconds_per_verify_token: float  # the weight of the objective's second term: throughput against latency


@dataclass(frozen=True)
class Candidate:
    length: int  # tokens of its context
    verify_tokens: int  # of its next draft, at most
    slack: float = math.inf  # seconds that its round may take before it breaks its SLO; below 0: broken
    passed_over: int = 0  # rounds that went without it while it was ready


def choose_group(waiting: Sequence[Candidate], seconds_of: Seconds, limits: Limits) -> list[int]:
    """Indices into `waiting`, which stand in the order of their waiting. The one that must go first is always taken."""
    by_length = sorted(range(len(waiting)), key=lambda index: waiting[index].length)
    first = _first(waiting)
    best, least = [first], math.inf
    for window in _windows(waiting, by_length, first, limits.requests):
        group = [waiting[index] for index in window]
        tokens = sum(candidate.verify_tokens for candidate in group)
        seconds = _seconds(group, seconds_of)
        fits = tokens <= limits.verify_tokens and seconds <= limits.seconds
        cost = seconds / len(group) + limits.seconds_per_verify_token * tokens
        if fits and cost < least:
            best, least = window, cost
    return _keeping_promises(waiting, first, best, seconds_of)


def _keeping_promises(waiting: Sequence[Candidate], first: int, group: list[int], seconds_of: Seconds) -> list[int]:
    """Without those to whom nothing is promised, where the others are not far ahead of their promises; and without
    those whose promise is broken, where they alone would make the others late."""

    deadline = min((waiting[index].slack for index in group if _is_promised(waiting[index])), default=math.inf)
    if math.isinf(deadline):
        return group

    def seconds(indices: Sequence[int]) -> float:
        return _seconds([waiting[index] for index in indices], seconds_of)

    together = seconds(group)
    hurried = [index for index in group if index == first or not math.isinf(waiting[index].slack)]
    if deadline < AHEAD * together and (alone := seconds(hurried)) <= NOTICEABLE * together:
        group, together = hurried, alone
    in_time = [index for index in group if index == first or _is_promised(waiting[index])]
    return in_time if deadline < together and seconds(in_time) <= deadline else group


def _seconds(group: Sequence[Candidate], seconds_of: Seconds) -> float:
    tokens = sum(candidate.verify_tokens for candidate in group)
    return seconds_of(len(group), tokens, max(candidate.length for candidate in group))


def _is_promised(candidate: Candidate) -> bool:
    return 0 < candidate.slack < math.inf


def _first(waiting: Sequence[Candidate]) -> int:
    """The next to break a promise that can still be kept; but nobody starves."""
    starving = next((index for index, each in enumerate(waiting) if each.passed_over >= PATIENCE), None)
    if starving is not None:
        return starving
    urgent = [index for index, each in enumerate(waiting) if _is_promised(each)]
    return min(urgent, key=lambda index: waiting[index].slack, default=0)


def _windows(waiting: Sequence[Candidate], by_length: Sequence[int], first: int, largest: int) -> Iterator[list[int]]:
    """With `first`: of sizes 1, 2, 4 .. and the largest, each as alike in length as can be."""
    place, size, most = by_length.index(first), 1, min(largest, len(by_length))
    while True:
        starts = range(max(0, place - size + 1), min(place, len(by_length) - size) + 1)
        windows = [list(by_length[start : start + size]) for start in starts]
        yield min(windows, key=lambda window: waiting[window[-1]].length - waiting[window[0]].length)
        if size == most:
            return
        size = min(2 * size, most)
