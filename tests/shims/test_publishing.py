"""A recorder's numbers on their way to Triton."""

from collections.abc import Iterator

import pytest
import triton_python_backend_utils as pb_utils
from cospec.metrics import catalogue as m
from cospec.metrics.recorder import Recorder
from cospec.triton_io.publishing import Publisher


@pytest.fixture(autouse=True)
def published(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[pb_utils.Metric]]:
    families: dict[str, list[pb_utils.Metric]] = {}
    monkeypatch.setattr(pb_utils.MetricFamily, "published", families)
    return families


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def publisher(recorder: Recorder) -> Iterator[Publisher]:
    running = Publisher(recorder, "orchestrator")
    yield running
    running.close()


def test_a_counter_gets_what_is_new_and_a_gauge_what_is(recorder, publisher, published) -> None:
    level = [3.0]
    recorder.watch(m.RUNNING, lambda: level[0])
    recorder.counter(m.REJECTED, "invalid").value += 2
    publisher.publish()
    recorder.counter(m.REJECTED, "invalid").value += 5
    level[0] = 1.0
    publisher.publish()
    publisher.publish()
    [rejected], [running] = published["cospec:request_rejected_total"], published["cospec:num_requests_running"]
    assert (rejected.total, rejected.labels, running.total) == (7, {"reason": "invalid"}, 1.0)


def test_every_observation_is_published_once(recorder, publisher, published) -> None:
    recorder.histogram(m.TTFT).append(0.5)
    publisher.publish()
    recorder.histogram(m.TTFT).append(0.25)
    publisher.publish()
    [histogram] = published["cospec:time_to_first_token_seconds"]
    assert histogram.observed == [0.5, 0.25] and histogram.buckets == list(m.TTFT.buckets)


def test_without_histograms_their_series_are_counters(recorder, publisher, published, monkeypatch) -> None:
    monkeypatch.delattr(pb_utils.MetricFamily, "HISTOGRAM")
    recorder.histogram(m.TTFT).extend((0.0005, 0.06, 10_000.0))
    publisher.publish()
    buckets = {metric.labels["le"]: metric.total for metric in published["cospec:time_to_first_token_seconds_bucket"]}
    assert (buckets["0.001"], buckets["0.04"], buckets["0.06"], buckets["2560"], buckets["+Inf"]) == (1, 1, 2, 2, 3)
    [total], [count] = (published[f"cospec:time_to_first_token_seconds_{suffix}"] for suffix in ("sum", "count"))
    assert (total.total, count.total) == (10_000.0605, 3)


def test_a_server_without_metrics_is_served_without_them(recorder, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise pb_utils.TritonModelException("metrics are disabled")

    monkeypatch.setattr(pb_utils.MetricFamily, "__init__", refuse)
    recorder.counter(m.ADMITTED)
    Publisher(recorder, "orchestrator").close()
    assert pb_utils.Logger.lines[-1] == "orchestrator publishes no metrics: metrics are disabled"


def test_metrics_that_are_switched_off_are_not_published(recorder, published) -> None:
    recorder.counter(m.ADMITTED)
    Publisher(recorder, "orchestrator", enabled=False).close()
    assert not published
