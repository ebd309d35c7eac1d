"""From values to places on a chart, and where an axis has its ticks. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10


@dataclass(frozen=True)
class Scale:
    """Maps `low`..`high` to `start`..`end`; values beyond are held at the ends."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        held = min(max(value, self.low), self.high)
        share = (self._warped(held) - self._warped(self.low)) / (self._warped(self.high) - self._warped(self.low))
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self) -> list[float]:
        return _decades(self.low, self.high) if self.logarithmic else _round_steps(self.low, self.high)

    def _warped(self, value: float) -> float:
        return log10(value) if self.logarithmic else value


def linear(values: Sequence[float], start: float, end: float) -> Scale:
    """From 0 to a round number above all values."""
    top = max(values, default=0.0) or 1.0
    step = _step(top)
    return Scale(0.0, ceil(top / step * 1.0001) * step, start, end)


def logarithmic(values: Sequence[float], start: float, end: float) -> Scale:
    """Around all values, which are above 0."""
    low, high = min(values, default=1.0), max(values, default=10.0)
    low, high = max(low, 1e-6), max(high, 1e-6)
    if high / low < 3:
        low, high = low / 2, high * 2
    return Scale(low, high, start, end, logarithmic=True)


def label(value: float) -> str:
    """Short: 1500 is 1.5k."""
    if value >= 10_000:
        return f"{value / 1000:.0f}k"
    return f"{value / 1000:.3g}k" if value >= 1000 else f"{value:.3g}"


def _step(top: float, parts: int = 4) -> float:
    power = 10 ** floor(log10(top / parts))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor * parts >= top * 0.999)


def _round_steps(low: float, high: float) -> list[float]:
    step = _step(high - low)
    return [low + number * step for number in range(floor((high - low) / step + 1e-6) + 1)]


def _decades(low: float, high: float) -> list[float]:
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    factors = (1, 2, 5) if high / low < 200 else (1,)
    return [factor * 10.0**power for power in powers for factor in factors if low <= factor * 10.0**power <= high]
