"""The knee: the highest rate at which the objectives are still attained. Pure: what measures a rate is an argument."""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Generic, Protocol, TypeVar


class Outcome(Protocol):
    """Of one rate."""

    @property
    def attained(self) -> bool: ...


T = TypeVar("T", bound=Outcome)


@dataclass(frozen=True)
class Knee(Generic[T]):
    """`rate`: the highest that was attained, 0 if none was; the lowest that was not is `above`, None if all were."""

    rate: float
    above: float | None
    trials: tuple[tuple[float, T], ...]


def find_knee(measure: Callable[[float], T], start: float, low: float, high: float, precision: float) -> Knee[T]:
    """Doubles or halves from `start` until both sides are known, then bisects on a logarithmic scale.

    Ends where the sides are closer than a factor of 1 + `precision`, or beyond `low` and `high`.
    """
    trials: list[tuple[float, T]] = []
    good, bad, rate = 0.0, None, start
    while low <= rate <= high and (not good or bad is None or bad / good > 1 + precision):
        trials.append((rate, measure(rate)))
        if trials[-1][1].attained:
            good = rate
        else:
            bad = rate
        rate = _next(good, bad)
    return Knee(good, bad, tuple(trials))


def _next(good: float, bad: float | None) -> float:
    if bad is None:
        return good * 2
    return sqrt(good * bad) if good else bad / 2
