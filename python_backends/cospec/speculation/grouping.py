"""Batch scheduling: which ready requests make the next round together (CoSine, batch scheduling).

Not first come, first served, and not a fixed size: a long request would stretch a whole batch. Of the sets of similar
length with the request that waits the longest, the one with the least cost per request, under a bound on the round's
latency and on the tokens to verify. Memory is bounded before: only requests that hold a slot are ready.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cospec.speculation.cost_model import StageCost


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


def choose_group(
    waiting: Sequence[Candidate], draft_cost: StageCost, verify_cost: StageCost, limits: Limits
) -> list[int]:
    """Indices into `waiting`, whose first one waits the longest and is always taken: nobody starves."""
    by_length = sorted(range(len(waiting)), key=lambda index: waiting[index].length)
    best, least = [0], float("inf")
    for window in _windows(waiting, by_length, limits.requests):
        group = [waiting[index] for index in window]
        tokens = sum(candidate.verify_tokens for candidate in group)
        seconds = _round_seconds(group, tokens, draft_cost, verify_cost)
        fits = tokens <= limits.verify_tokens and seconds <= limits.seconds
        cost = seconds / len(group) + limits.seconds_per_verify_token * tokens
        if fits and cost < least:
            best, least = window, cost
    return best


def _round_seconds(group: Sequence[Candidate], tokens: int, draft_cost: StageCost, verify_cost: StageCost) -> float:
    longest = max(candidate.length for candidate in group)
    drafting = draft_cost.seconds(len(group), tokens, longest) if tokens else 0.0
    return drafting + verify_cost.seconds(len(group), len(group) + tokens, longest)


def _windows(waiting: Sequence[Candidate], by_length: Sequence[int], largest: int) -> Iterator[list[int]]:
    """With the one that waits the longest: of sizes 1, 2, 4 .. and the largest, each as alike in length as can be."""
    place, size, most = by_length.index(0), 1, min(largest, len(by_length))
    while True:
        starts = range(max(0, place - size + 1), min(place, len(by_length) - size) + 1)
        windows = [list(by_length[start : start + size]) for start in starts]
        yield min(windows, key=lambda window: waiting[window[-1]].length - waiting[window[0]].length)
        if size == most:
            return
        size = min(2 * size, most)
