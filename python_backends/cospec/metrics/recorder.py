"""What happened so far, in plain numbers: quick to add to, and read by another thread that publishes it.

Nothing is ever taken away but observations, so that reader and writer need no lock: a total is one number, replaced in
one step, and a deque's ends are safe to use from two threads.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from cospec.metrics.catalogue import Metric

MOST_PENDING = 100_000  # observations that wait to be published; beyond it the oldest are lost


class Series(NamedTuple):
    """One metric with one value for each of its labels."""

    metric: Metric
    values: tuple[str, ...] = ()

    @property
    def labels(self) -> dict[str, str]:
        return dict(zip(self.metric.labels, self.values, strict=True))


class Recorder:
    def __init__(self) -> None:
        self._totals: dict[Series, float] = {}
        self._readings: dict[Series, Callable[[], float]] = {}
        self._observed: set[Series] = set()
        self._pending: deque[tuple[Series, float]] = deque(maxlen=MOST_PENDING)

    def count(self, metric: Metric, amount: float = 1, *values: str) -> None:
        """Of a counter; an `amount` of 0 makes the series known."""
        series = Series(metric, values)
        self._totals[series] = self._totals.get(series, 0) + amount

    def observe(self, metric: Metric, value: float) -> None:
        """Of a histogram."""
        self._pending.append((Series(metric), value))

    def watch(self, metric: Metric, read: Callable[[], float], *values: str) -> None:
        """Of a gauge: `read` is called by the thread that publishes."""
        self._readings[Series(metric, values)] = read

    def expect(self, *metrics: Metric) -> None:
        """Counters and histograms without labels, known before anything happens."""
        for metric in metrics:
            if metric.buckets:
                self._observed.add(Series(metric))
            else:
                self.count(metric, 0)

    def totals(self) -> list[tuple[Series, float]]:
        """Counters."""
        return list(self._totals.items())

    def readings(self) -> list[tuple[Series, float]]:
        """Gauges, read now."""
        return [(series, read()) for series, read in list(self._readings.items())]

    def expected_observations(self) -> list[Series]:
        return list(self._observed)

    def take_observations(self) -> Iterator[tuple[Series, float]]:
        """Those that nobody has taken yet."""
        while self._pending:
            yield self._pending.popleft()
