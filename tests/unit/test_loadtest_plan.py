"""A load test's plan and the requests it means."""

import argparse
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import pytest

from loadtests.bad_input import BadInput
from loadtests.generator.plan import Plan, add_plan_options, check_plan, plan_of
from loadtests.generator.planned_requests import endless_requests, plan_requests, share_of, text_of_length
from loadtests.objectives import load_objectives
from loadtests.workload import DOMAINS

OBJECTIVES = load_objectives()
PLAN = Plan(rate=20.0, duration=100.0, warm_up=10.0)


def parsed(*arguments: str) -> Plan:
    parser = argparse.ArgumentParser()
    add_plan_options(parser)
    return plan_of(parser.parse_args(arguments))


def test_a_plan_survives_its_own_options() -> None:
    plan = replace(PLAN, arrivals="gamma:burstiness=0.5", speculation="fixed:{domain}:4", mix="batch=1", users=3)
    assert parsed(*plan.arguments()) == plan


def test_the_same_plan_is_the_same_requests_and_another_seed_others() -> None:
    requests = plan_requests(PLAN, OBJECTIVES)
    assert requests == plan_requests(PLAN, OBJECTIVES)
    assert requests != plan_requests(replace(PLAN, load_seed=1), OBJECTIVES)
    assert all(earlier.at <= later.at for earlier, later in pairwise(requests))


def test_the_warm_up_comes_first_and_at_the_same_rate() -> None:
    requests = plan_requests(PLAN, OBJECTIVES)
    warming = sum(request.at < PLAN.warm_up for request in requests)
    assert warming == pytest.approx(200, rel=0.3) and len(requests) - warming == pytest.approx(2000, rel=0.1)


def test_a_mixed_workload_has_every_domain_and_the_classes_shares() -> None:
    requests = plan_requests(PLAN, OBJECTIVES)
    assert {request.domain for request in requests} == set(DOMAINS)
    classes = [request.slo_class for request in requests]
    assert classes.count("interactive") / len(classes) == pytest.approx(0.5, abs=0.05)
    assert {request.max_tokens for request in requests if request.slo_class == "batch"} == {96}


def test_a_domain_a_mix_and_a_length_of_ones_own() -> None:
    plan = replace(PLAN, workload="code", mix="batch=1,standard=0", max_tokens=8, speculation="fixed:{domain}:4")
    requests = plan_requests(plan, OBJECTIVES)
    assert {(r.domain, r.slo_class, r.max_tokens, r.speculation) for r in requests} == {
        ("code", "batch", 8, "fixed:code:4")
    }


def test_workers_shares_are_the_whole_schedule_and_overlap_nowhere() -> None:
    requests = plan_requests(PLAN, OBJECTIVES)
    shares = [share_of(requests, index, 3) for index in range(3)]
    assert sorted((request for share in shares for request in share), key=lambda each: each.at) == requests
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_traces_lengths_are_those_of_prompts_and_answers(tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    rows = "".join(f"2023-11-16 18:17:{second:02}.0,{100 + second},{second + 1}\n" for second in range(30))
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + rows)
    plan = replace(PLAN, arrivals=f"trace:{trace},speed=1", warm_up=0.0, characters_per_token=3.0)
    requests = plan_requests(plan, OBJECTIVES)
    assert [len(request.prompt) for request in requests] == [3 * (100 + second) for second in range(30)]
    assert [request.max_tokens for request in requests] == list(range(1, 31))


def test_a_text_of_a_length_goes_round() -> None:
    assert text_of_length(["ab", "cde"], 1, 12) == "cde\nab\ncde\na"
    assert text_of_length(["ab"], 0, 1) == "a"


def test_callers_of_a_closed_loop_ask_other_things() -> None:
    one, other = (list(islice(endless_requests(PLAN, OBJECTIVES, caller), 20)) for caller in ("0/0", "0/1"))
    assert one != other and one == list(islice(endless_requests(PLAN, OBJECTIVES, "0/0"), 20))


@pytest.mark.parametrize(
    "options, words",
    [
        (["--rate=-1"], r"--rate must be from 0\.001 to 100000, got -1"),
        (["--rate=nan"], "--rate must be from"),
        (["--duration=0"], "--duration must be from 1"),
        (["--workload=law"], "unknown domain 'law'; domains: chat, code"),
        (["--mix=premium=1"], "unknown class 'premium'; classes: interactive, standard, batch"),
        (["--mix=batch=-1"], "share of at least 0, got '-1'"),
        (["--mix=batch=0"], "share above 0"),
        (["--protocol=soap"], "--protocol must be one of grpc, http-stream, http"),
        (["--promises=some"], "--promises must be one of told, untold, got 'some'"),
        (["--arrivals=trace:/none.csv"], "cannot be read"),
        (["--slo=/none.yaml"], "objectives cannot be read"),
        (["--slo-scale=0"], "--slo-scale must be from 0.01 to 100, got 0"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_in_a_sentence(options: list[str], words: str) -> None:
    with pytest.raises(BadInput, match=words) as error:
        parsed(*options)
    assert "\n" not in str(error.value)


def test_the_shipped_objectives_pass_their_own_check() -> None:
    assert check_plan(Plan()).names == ("interactive", "standard", "batch")
