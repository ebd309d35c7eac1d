"""Honest counting, the verdict, the guard and the server's metrics, on records made by hand."""

from typing import Any

import pytest

from loadtests.bad_input import BadInput
from loadtests.generator.plan import Plan
from loadtests.generator.record import FAILED, REJECTED, UNFINISHED, Record
from loadtests.objectives import FIGURES, Objective, Objectives, Rule, figure_names
from loadtests.slo import guard
from loadtests.slo.figures import figures_of, measured, run_figures
from loadtests.slo.series import accepted_per_depth, course, draft_length, drafter_shares, drift
from loadtests.slo.server_metrics import Scrape, changes, parse_metrics, scrape
from loadtests.slo.verdict import FAIL, INVALID, PASS, judge, sentence, shown

PLAN = Plan(rate=1.0, duration=10.0, warm_up=2.0)
OBJECTIVES = Objectives(
    (Objective("fast", 1, 8, ttft_ms=100), Objective("slow", 1, 8, e2e_ms=2000)), (Rule("attainment", low=0.9),)
)


def record(at: float, **values: Any) -> Record:
    defaults = {"lag": 0.001, "domain": "code", "slo_class": "fast", "ttft": 0.05, "latency": 0.5, "output_tokens": 10}
    return Record(at=at, **{**defaults, **values})


def figures(records: list[Record]) -> dict[str, float | None]:
    return run_figures(measured(records, PLAN), PLAN, OBJECTIVES)


def test_the_warm_up_does_not_count() -> None:
    found = figures([record(0.5, ttft=9.0), record(1.99, outcome=FAILED), record(2.0), record(11.0)])
    assert (found["attainment"], found["failed_share"], found["offered_rps"]) == (1, 0, 0.2)


def test_whatever_does_not_end_well_is_a_miss_however_fast() -> None:
    bad = [record(3, outcome=outcome, ttft=0.0, latency=0.001) for outcome in (FAILED, REJECTED, UNFINISHED)]
    found = figures([record(3), *bad])
    assert found["attainment"] == 0.25 and found["goodput_rps"] == 0.1
    assert (found["failed_share"], found["rejected_share"]) == (0.75, 0.25)
    assert found["e2e_p50_ms"] == 500, "a failure's time is no latency"


def test_attainment_is_by_each_requests_own_class() -> None:
    found = figures(
        [record(3, ttft=0.2), record(3, ttft=0.2, slo_class="slow"), record(3, latency=3, slo_class="slow")]
    )
    assert (found["fast.attainment"], found["slow.attainment"]) == (0, 0.5)
    assert found["attainment"] == pytest.approx(1 / 3)


def test_time_per_token_is_by_tokens_and_a_single_token_has_none() -> None:
    found = figures([record(3, ttft=0.1, latency=1.0, output_tokens=10, gaps=(0.4, 0.5)), record(3, output_tokens=1)])
    assert found["tpot_p99_ms"] == pytest.approx(100)
    assert (found["icl_p50_ms"], found["icl_p99_ms"]) == (400, 500)
    assert found["throughput_tps"] == pytest.approx(11 / 10)


def test_an_answer_in_one_piece_cannot_hide_its_time_in_the_first_token() -> None:
    found = figures([record(3, ttft=1.0, latency=1.0, output_tokens=10)])
    assert found["tpot_p99_ms"] == pytest.approx(100)


def test_throughput_is_over_the_time_that_the_answers_took() -> None:
    assert figures([record(11, latency=11.0, output_tokens=40)])["throughput_tps"] == pytest.approx(2)


def test_what_was_not_measured_is_none_and_every_name_that_a_gate_may_use_is_there() -> None:
    assert set(figures([record(3)])) == set(figure_names(OBJECTIVES.names))
    nothing = figures_of([], PLAN, OBJECTIVES)
    assert nothing["attainment"] is None and nothing["ttft_p99_ms"] is None and tuple(nothing) == FIGURES


def test_a_run_passes_misses_or_proves_nothing() -> None:
    good, late = figures([record(3)]), figures([record(3, lag=0.0101)])
    missed = figures([record(3, ttft=1.0)])
    assert judge(good, OBJECTIVES).status == PASS and judge(good, OBJECTIVES).exit_code == 0
    assert judge(missed, OBJECTIVES).status == FAIL and judge(missed, OBJECTIVES).exit_code == 1
    assert judge(late, OBJECTIVES).status == INVALID and "late by 10.1 ms" in judge(late, OBJECTIVES).reasons[0]
    assert judge(figures([]), OBJECTIVES).status == INVALID
    assert judge(good, OBJECTIVES, ["slower"]).reasons == ("slower",)


def test_the_verdict_is_one_line_that_says_why() -> None:
    good, missed = figures([record(3)]), figures([record(3, ttft=1.0)])
    assert sentence(judge(good, OBJECTIVES), good).startswith("PASS  100% of requests attain")
    assert sentence(judge(missed, OBJECTIVES), missed) == "FAIL  attainment is 0.00%, not >= 0.9"
    assert [shown(*pair) for pair in (("a.ttft_p50_ms", 7.25), ("attainment", 0.9949), ("goodput_rps", 3.0))] == [
        "7.2 ms",
        "99.49%",
        "3.00/s",
    ]


def test_the_course_is_by_when_things_should_have_been_sent_and_when_they_ended() -> None:
    plan = Plan(duration=8.0, warm_up=2.0)
    found = course([record(0.5, latency=3.0), record(3.5, ttft=0.2), record(3.6, outcome=FAILED)], plan, OBJECTIVES)
    assert found["seconds"][:2] == [0.5, 1.5] and len(found["seconds"]) == 10
    assert found["offered_rps"][:4] == [1, 0, 0, 2]
    assert found["completed_rps"][3:5] == [1, 1] and found["goodput_rps"][3:5] == [1, 0]
    assert found["ttft_p50_ms"][3] == 200


def test_drafting_is_pooled_over_requests() -> None:
    one = record(3, drafted_rounds=4, num_draft_tokens=12, accepted_per_depth=(4, 2), drafter_shares={"code": 1.0})
    other = record(3, drafted_rounds=4, num_draft_tokens=4, accepted_per_depth=(2,), drafter_shares={"chat": 1.0})
    plain = record(3, domain="math")
    assert draft_length([one, other, plain]) == 2 and draft_length([plain]) is None
    assert drafter_shares([one, other, plain]) == {"code": {"chat": 0.25, "code": 0.75}}
    assert accepted_per_depth([one, other, plain]) == [0.75, 0.25]


def test_drift_is_the_end_of_a_run_over_its_beginning() -> None:
    records = [record(number, ttft=0.1 if number < 10 else 0.2, latency=1.0) for number in range(20)]
    assert drift(records)["TTFT"] == 2 and drift(records)["end to end"] == 1
    assert drift(records[:3]) == {}


def result(ttft: float, verifier: str = "bundle", rate: float = 6.0, status: str = PASS) -> dict[str, Any]:
    return {
        "plan": {"rate": rate, "load_seed": 0},
        "verdict": {"status": status},
        "verifier": verifier,
        "machine": {"processor": "2 x A"},
        "classes": {"fast": {"max_tokens": 8}},
        "ratios": {"TTFT p50 under load over alone": ttft, "attainment": 1.0},
    }


def test_ratios_are_of_this_run_alone() -> None:
    alone = {"tokens_per_second": 300.0, "off_tokens_per_second": 150.0, "ttft_ms": 10.0, "tpot_ms": 0.0}
    found = guard.ratios({"ttft_p50_ms": 25.0, "ttft_p99_ms": 50.0, "attainment": 0.5}, alone)
    assert found == {
        "tokens/s alone, this speculation over off": 2,
        "TTFT p50 under load over alone": 2.5,
        "TTFT p99 over p50": 2,
        "attainment": 0.5,
    }


def test_a_tolerance_is_learnt_from_how_far_repeats_lie_apart() -> None:
    learnt = guard.learn([result(2.0), result(2.4), result(2.2)])["ratios"]
    assert learnt["TTFT p50 under load over alone"] == {
        "value": 2.2,
        "tolerance": pytest.approx(2 * 0.4 / 2.2, abs=1e-4),
    }
    assert learnt["attainment"]["tolerance"] == guard.LEAST_TOLERANCE


def test_repeats_that_lie_too_far_apart_teach_nothing() -> None:
    with pytest.raises(BadInput, match="repeats lie too far apart to learn from: TTFT p50 under load over alone"):
        guard.learn([result(2.0), result(5.0)])


def test_a_regression_is_only_what_is_worse_beyond_the_tolerance() -> None:
    baseline = guard.learn([result(2.0), result(2.0)])

    def regressed(ttft: float) -> list[bool]:
        return [each.regressed for each in guard.compare_with(baseline, result(ttft))]

    assert regressed(2.19) == [False, False] and regressed(2.21) == [True, False]
    assert regressed(0.1) == [False, False], "better is no regression"
    lost = guard.compare_with(baseline, {**result(2.0), "ratios": {"attainment": 0.85}})
    assert [each.regressed for each in lost] == [True, True]


def test_a_baseline_of_something_else_is_said_to_be() -> None:
    baseline = guard.learn([result(2.0), result(2.0)])
    assert guard.why_not(baseline, {**result(9.0), "plan": {"rate": 6.0, "load_seed": 5}}) == ""
    assert guard.why_not(baseline, result(2.0, rate=7.0)) == "the baseline is of another plan: other rate"
    assert "another verifier" in guard.why_not(baseline, result(2.0, verifier="big"))
    assert "other classes" in guard.why_not(baseline, {**result(2.0), "classes": {}})
    assert "another processor" in guard.why_not(baseline, {**result(2.0), "machine": {"processor": "B"}})


@pytest.mark.parametrize(
    "runs", [[result(2.0)], [result(2.0), result(2.0, rate=9.0)], [result(2.0), result(2.0, status=INVALID)]]
)
def test_nothing_is_learnt_from_one_run_from_different_ones_or_from_invalid_ones(runs: list[dict[str, Any]]) -> None:
    with pytest.raises(BadInput):
        guard.learn(runs)


METRICS = """# HELP cospec:tokens_total tokens
# TYPE cospec:tokens_total counter
cospec:tokens_total{kind="accepted"} 10
# TYPE cospec:ttft_seconds histogram
cospec:ttft_seconds_bucket{le="0.1"} 3
cospec:ttft_seconds_sum 0.5
# TYPE cospec:running gauge
cospec:running 4
# TYPE nv_cpu_utilization gauge
nv_cpu_utilization 0.5
"""


def test_counters_grow_gauges_are_and_buckets_are_left_out() -> None:
    before = parse_metrics(METRICS)
    after = parse_metrics(METRICS.replace("} 10", "} 25").replace("sum 0.5", "sum 2").replace("running 4", "running 1"))
    assert changes(before, after) == {
        'cospec:tokens_total{kind="accepted"}': 15,
        "cospec:ttft_seconds_sum": 1.5,
        "cospec:running": 1,
    }


def test_a_server_without_metrics_costs_no_run() -> None:
    assert scrape("localhost:1") == Scrape()
