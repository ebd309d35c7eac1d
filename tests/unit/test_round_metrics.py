"""What the round loop tells, against what its requests got."""

import pytest
from cospec.metrics import catalogue as m
from cospec.metrics.catalogue import CATALOGUE, Kind, Metric
from cospec.metrics.engine_metrics import CountedVerifier, size_range
from cospec.metrics.recorder import Recorder, Series
from cospec.metrics.round_metrics import RoundMetrics
from cospec.speculation.rounds import RoundLoop
from cospec.speculation.slo import Slo
from cospec.speculation.types import NO_PARENT, DraftTree, SamplingParameters, VerifyResult, VerifyRow
from scripted import ScriptedDrafter, ScriptedVerifier
from scripted_rounds import OFF, counting, generate, make_loop, make_request, often_right, routed


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def loop(recorder: Recorder) -> RoundLoop:
    observer = RoundMetrics(recorder, ("code", "lookup"), 16)
    made = make_loop(ScriptedVerifier(counting), {"code": ScriptedDrafter(often_right)}, observer=observer)
    observer.watch(made.pool)
    return made


def total(recorder: Recorder, metric: Metric, *values: str) -> float:
    return dict(recorder.totals())[Series(metric, values)]


def test_tokens_and_requests_add_up(loop: RoundLoop, recorder: Recorder) -> None:
    generate(loop, *(make_request(max_tokens=count, mode=OFF) for count in (1, 7, 20)))
    assert total(recorder, m.ADMITTED) == total(recorder, m.SUCCEEDED, "length") == 3
    assert (total(recorder, m.PROMPT_TOKENS), total(recorder, m.GENERATION_TOKENS)) == (9, 28)
    assert dict(recorder.readings()) == {Series(m.RUNNING): 0, Series(m.WAITING): 0}
    assert total(recorder, m.PLANS, "off") > 0 and total(recorder, m.ROUNDS, "drafted") == 0


def test_every_request_has_its_latencies(loop: RoundLoop, recorder: Recorder) -> None:
    [sequence] = generate(loop, make_request(max_tokens=20, mode=routed(4)))
    observed = {series.metric: list(recorder.take_observations(series)) for series in recorder.histograms()}
    [first], [latency], [per_token] = observed[m.TTFT], observed[m.LATENCY], observed[m.TPOT]
    assert first + sum(observed[m.INTER_CHUNK]) == pytest.approx(latency)
    assert per_token == pytest.approx((latency - first) / 19)
    assert len(observed[m.INTER_CHUNK]) == sequence.statistics.rounds
    assert 0 <= observed[m.QUEUE_TIME][0] < first


def test_drafts_are_counted_as_the_request_counts_them(loop: RoundLoop, recorder: Recorder) -> None:
    [sequence] = generate(loop, make_request(max_tokens=40, mode=routed(4)))
    statistics = sequence.statistics
    assert 0 < total(recorder, m.NUM_ACCEPTED) == statistics.num_accepted_tokens
    assert total(recorder, m.NUM_DRAFTS) == statistics.drafted_rounds
    assert total(recorder, m.NUM_DRAFT_TOKENS) == statistics.num_draft_tokens
    assert total(recorder, m.DRAFTER_TOKENS, "code") == statistics.drafted_by["code"]
    assert total(recorder, m.DRAFTER_ACCEPTED, "code") == statistics.accepted_by["code"]
    per_position = [total(recorder, m.ACCEPTED_AT, str(position)) for position in range(4)]
    assert per_position == [*statistics.accepted_per_depth, 0, 0, 0, 0][:4]
    assert total(recorder, m.PLANNED_DRAFTERS, "tree") == total(recorder, m.PLANS, "tree") == statistics.drafted_rounds
    assert total(recorder, m.DRAFTER_CALLS, "code") >= statistics.drafted_rounds


def test_a_drafter_that_fails_is_counted(recorder: Recorder) -> None:
    drafters = {"code": ScriptedDrafter(counting, failures=1000)}
    observer = RoundMetrics(recorder, ("code", "lookup"), 16)
    generate(make_loop(ScriptedVerifier(counting), drafters, observer=observer), make_request(mode=routed(4)))
    assert total(recorder, m.DRAFTER_FAILURES, "code") == drafters["code"].num_calls > 0
    assert total(recorder, m.DRAFTER_CALLS, "code") == 0


def test_promises_kept_and_broken_are_counted_by_class(loop: RoundLoop, recorder: Recorder) -> None:
    """The loop's clock says that every look at it takes a millisecond."""
    kept, broken, own = Slo(ttft=60.0, name="batch"), Slo(tpot=1e-6, name="interactive"), Slo(ttft=60.0, tpot=60.0)
    generate(loop, *(make_request(mode=OFF, slo=slo) for slo in (kept, broken, own)), make_request(mode=OFF))
    counted = {(series.metric, series.values): count for series, count in recorder.totals() if count}
    assert {key: count for key, count in counted.items() if key[0] in (m.SLO_ATTAINED, m.SLO_MISSED)} == {
        (m.SLO_ATTAINED, ("batch",)): 1,
        (m.SLO_MISSED, ("interactive",)): 1,
        (m.SLO_ATTAINED, ("request",)): 1,
    }


def test_a_cancelled_request_keeps_no_promise(loop: RoundLoop, recorder: Recorder) -> None:
    generate(loop, make_request(max_tokens=90, mode=OFF, slo=Slo(ttft=60.0, name="batch")), cancel=0)
    assert total(recorder, m.SLO_MISSED, "batch") == total(recorder, m.SUCCEEDED, "cancelled") == 1
    assert not recorder.histogram(m.LATENCY)


class NoEngine:
    def verify(self, rows: list[VerifyRow]) -> list[VerifyResult]:
        return []

    def release(self, session_ids: list[int]) -> None: ...


def test_the_verifiers_batches_are_counted_by_size_and_tokens(recorder: Recorder) -> None:
    counted = CountedVerifier(NoEngine(), recorder, num_slots=8)  # type: ignore[arg-type]
    tree = DraftTree((5, 6), (NO_PARENT, 0))
    row = VerifyRow(1, 0, [1, 2, 3], tree, SamplingParameters())  # type: ignore[arg-type]
    counted.verify([row] * 3)
    counted.verify([])
    assert total(recorder, m.VERIFY_BATCHES, "3-4") == 1
    assert (total(recorder, m.VERIFY_SEQUENCES), total(recorder, m.VERIFY_TOKENS)) == (3, 15)


def test_sizes_have_few_labels() -> None:
    assert [size_range(size) for size in (1, 2, 3, 4, 5, 8, 9, 64, 65)] == [
        *("1", "2", "3-4", "3-4", "5-8", "5-8", "9-16", "33-64", "65-128")
    ]


def test_names_follow_prometheus() -> None:
    assert len({metric.name for metric in CATALOGUE}) == len(CATALOGUE) > 30
    for metric in CATALOGUE:
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name
        assert bool(metric.buckets) == (metric.kind is Kind.HISTOGRAM)
        assert list(metric.buckets) == sorted(metric.buckets)
