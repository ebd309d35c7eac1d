"""A recorder's numbers to Triton's metrics endpoint, once a second, by a thread of its own.

Each number costs a call to the server's process, about 20 us: a round loop that made them itself would wait for them.
"""

import threading
import time
from bisect import bisect_left
from typing import Any, Protocol

import triton_python_backend_utils as pb_utils

from cospec.metrics.catalogue import OWN_SECONDS, Kind, Metric
from cospec.metrics.recorder import Recorder, Series

INTERVAL = 1.0  # seconds


class Publisher:
    """Publishes from its creation until `close`, if `enabled`. A server that has no metrics is served without them."""

    def __init__(self, recorder: Recorder, model: str, enabled: bool = True) -> None:
        """`model`: whose process this is."""
        self._recorder = recorder
        self._model = model
        self._own_seconds = recorder.counter(OWN_SECONDS, model)
        self._families: dict[str, pb_utils.MetricFamily] = {}  # they must outlive their metrics
        self._published: dict[Series, float] = {}
        self._counters: dict[Series, pb_utils.Metric] = {}
        self._gauges: dict[Series, pb_utils.Metric] = {}
        self._histograms: dict[Series, _Histogram] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        if enabled and self._try_to_publish():  # so that every metric is known before the first request
            self._thread.start()

    def close(self) -> None:
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def publish(self) -> None:
        """What is new since the last time."""
        for series, total in self._recorder.totals():
            self._count(series, total)
        for series, value in self._recorder.readings():
            self._set(series, value)
        for series in self._recorder.histograms():
            histogram = self._histogram(series)
            for value in self._recorder.take_observations(series):
                histogram.observe(value)

    def _run(self) -> None:
        while not self._closing.wait(INTERVAL) and self._try_to_publish():
            pass

    def _try_to_publish(self) -> bool:
        before = time.thread_time()
        try:
            self.publish()
        except Exception as error:  # metrics are not worth a request
            pb_utils.Logger.log_warn(f"{self._model} publishes no metrics: {error}")
            return False
        self._own_seconds.value += time.thread_time() - before
        return True

    def _count(self, series: Series, total: float) -> None:
        before = self._published.get(series)
        if before is None:
            self._counters[series] = self._metric(series.metric, series.labels)
        if total != (before or 0):
            self._counters[series].increment(total - (before or 0))
        self._published[series] = total

    def _set(self, series: Series, value: float) -> None:
        if series not in self._gauges:
            self._gauges[series] = self._metric(series.metric, series.labels)
        if self._published.get(series) != value:
            self._gauges[series].set(value)
            self._published[series] = value

    def _histogram(self, series: Series) -> "_Histogram":
        if series not in self._histograms:
            self._histograms[series] = self._make_histogram(series)
        return self._histograms[series]

    def _make_histogram(self, series: Series) -> "_Histogram":
        if hasattr(pb_utils.MetricFamily, "HISTOGRAM"):
            family = self._family(series.metric.full_name, series.metric.description, Kind.HISTOGRAM)
            return family.Metric(labels=series.labels, buckets=list(series.metric.buckets))
        return _CounterHistogram(self, series)

    def _metric(self, metric: Metric, labels: dict[str, str]) -> "pb_utils.Metric":
        return self.metric(metric.full_name, metric.description, metric.kind, labels)

    def metric(self, name: str, description: str, kind: Kind, labels: dict[str, str]) -> "pb_utils.Metric":
        """Of a counter or gauge."""
        return self._family(name, description, kind).Metric(labels=labels)

    def _family(self, name: str, description: str, kind: Kind) -> "pb_utils.MetricFamily":
        if name not in self._families:
            triton_kind = getattr(pb_utils.MetricFamily, kind.name)
            self._families[name] = pb_utils.MetricFamily(name=name, description=description, kind=triton_kind)
        return self._families[name]


class _Histogram(Protocol):
    def observe(self, value: float) -> None: ...


class _CounterHistogram:
    """For a Triton without histograms (before 24.08): the same series, each of them a counter."""

    def __init__(self, publisher: Publisher, series: Series) -> None:
        name, description = series.metric.full_name, series.metric.description

        def counter(suffix: str, **more: str) -> Any:
            return publisher.metric(f"{name}_{suffix}", description, Kind.COUNTER, {**series.labels, **more})

        self._bounds = series.metric.buckets
        self._buckets = [counter("bucket", le=f"{bound:g}") for bound in self._bounds] + [counter("bucket", le="+Inf")]
        self._sum, self._count = counter("sum"), counter("count")

    def observe(self, value: float) -> None:
        for bucket in self._buckets[bisect_left(self._bounds, value) :]:
            bucket.increment(1)
        self._sum.increment(value)
        self._count.increment(1)
