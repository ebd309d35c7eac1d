"""The knee: the highest rate at which the objectives are still attained. Pure: what measures a rate is an argument."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Generic, Protocol, TypeVar


class Outcome(Protocol):
    """Of one rate."""

    @property
    def attained(self) -> bool: ...

    @property
    def counts(self) -> bool:
        """Else it says nothing of the rate."""


T = TypeVar("T", bound=Outcome)


@dataclass(frozen=True)
class Knee(Generic[T]):
    """`rate`: the highest that was attained, 0 if none was; the lowest that was not is `above`, None if all were."""

    rate: float
    above: float | None
    trials: tuple[tuple[float, T], ...]


class Search(Generic[T]):
    """Doubles or halves from `start` until both sides are known, then bisects on a logarithmic scale.

    Ends where the sides are closer than a factor of 1 + `precision`, or beyond `low` and `high`. A rate is tried until
    most of `attempts` have agreed, since a machine has bad moments and good ones; up to as many that do not count are
    repeated.
    """

    def __init__(self, start: float, low: float, high: float, precision: float, attempts: int = 1) -> None:
        self._range, self._precision, self._attempts = (low, high), precision, attempts
        self._good = 0.0
        self._bad: float | None = None
        self._rate, self._hits, self._misses, self._spared = start, 0, 0, 0
        self._trials: list[tuple[float, T]] = []

    @property
    def next_rate(self) -> float | None:
        """To try; None when the knee is found."""
        low, high = self._range
        return self._rate if not self._is_precise() and low <= self._rate <= high else None

    @property
    def attempt(self) -> int:
        """Trials of this rate so far."""
        return self._hits + self._misses + self._spared

    def add(self, outcome: T) -> None:
        """Of the rate that was to be tried."""
        self._trials.append((self._rate, outcome))
        if not outcome.counts and self._spared < self._attempts:
            self._spared += 1
            return
        self._hits += outcome.attained
        self._misses += not outcome.attained
        majority = self._attempts // 2 + 1
        if majority not in (self._hits, self._misses):
            return
        if self._hits == majority:
            self._good = self._rate
        else:
            self._bad = self._rate
        self._rate, self._hits, self._misses, self._spared = _next(self._good, self._bad), 0, 0, 0

    def _is_precise(self) -> bool:
        return self._bad is not None and self._bad <= self._good * (1 + self._precision)

    @property
    def knee(self) -> Knee[T]:
        """As far as it is known."""
        return Knee(self._good, self._bad, tuple(self._trials))


def find_knees(
    searches: Mapping[str, Search[T]], measure: Callable[[str, float, int], T]
) -> Iterator[dict[str, Knee[T]]]:
    """The searches take turns, so that what slows the machine for minutes slows them all; yields after each trial.

    `measure` gets name, rate, and how many trials that rate has had.
    """
    while rates := {name: rate for name, search in searches.items() if (rate := search.next_rate) is not None}:
        for name, rate in rates.items():
            searches[name].add(measure(name, rate, searches[name].attempt))
            yield {name: search.knee for name, search in searches.items() if search.knee.trials}


def _next(good: float, bad: float | None) -> float:
    if bad is None:
        return good * 2
    return sqrt(good * bad) if good else bad / 2
