"""What happened so far, in plain numbers: quick to add to, and read by another thread that publishes it.

Nothing is ever taken away but observations, so that reader and writer need no lock: a total is one number, replaced in
one step by its only writer, and a deque's ends are safe to use from two threads.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
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


class Total:
    """Of one counter; `value` only grows. Whoever counts in a hot place keeps it at hand."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class Recorder:
    """Whatever is asked for here is published from then on, at first as 0."""

    def __init__(self) -> None:
        self._totals: dict[Series, Total] = {}
        self._observations: dict[Series, deque[float]] = {}
        self._readings: dict[Series, Callable[[], float]] = {}

    def counter(self, metric: Metric, *values: str) -> Total:
        return self._totals.setdefault(Series(metric, values), Total())

    def counters(self, metric: Metric, values: Iterable[str]) -> "Family":
        """Of a metric with one label; `values` are those known beforehand."""
        family = Family(self, metric)
        family.update({value: self.counter(metric, value) for value in values})
        return family

    def histogram(self, metric: Metric) -> deque[float]:
        """To append what is observed to."""
        return self._observations.setdefault(Series(metric), deque(maxlen=MOST_PENDING))

    def watch(self, metric: Metric, read: Callable[[], float], *values: str) -> None:
        """Of a gauge: `read` is called by the thread that publishes."""
        self._readings[Series(metric, values)] = read

    def totals(self) -> list[tuple[Series, float]]:
        """Counters."""
        return [(series, total.value) for series, total in list(self._totals.items())]

    def readings(self) -> list[tuple[Series, float]]:
        """Gauges, read now."""
        return [(series, read()) for series, read in list(self._readings.items())]

    def histograms(self) -> list[Series]:
        return list(self._observations)

    def take_observations(self, series: Series) -> Iterator[float]:
        """Those that nobody has taken yet."""
        pending = self._observations[series]
        while pending:
            yield pending.popleft()


class Family(dict[str, Total]):
    """Counters by their label's value, made where they are missing: who counts must not fail for a new name."""

    def __init__(self, recorder: Recorder, metric: Metric) -> None:
        super().__init__()
        self._recorder = recorder
        self._metric = metric

    def __missing__(self, value: str) -> Total:
        self[value] = self._recorder.counter(self._metric, value)
        return self[value]
