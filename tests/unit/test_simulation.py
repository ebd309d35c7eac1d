"""The round loop in virtual time, and what a load is planned with."""

import asyncio
import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from cospec.cli import main
from cospec.config import load_settings
from cospec.engine.profiles import ProfileStore
from cospec.plan_command import fewest, outcome_of
from cospec.profile_command import errors_of, held_out
from cospec.simulation.arrivals import Arrival, TraceError, fitted, poisson, read_trace
from cospec.simulation.fleet import Outcome, Scenario, simulate
from cospec.simulation.virtual_time import Stalled, run
from cospec.speculation.cost_model import CostModel, Learnt
from cospec.speculation.profiling import Profile
from cospec.speculation.request import SpeculationMode
from cospec.speculation.slo import NO_SLO, Slo
from test_cost_model import DRAFT_WORKS, VERIFY_WORKS, true_draft, true_verify

PROFILE = Profile(
    tuple((work, true_verify(work)) for work in VERIFY_WORKS), tuple((work, true_draft(work)) for work in DRAFT_WORKS)
)
SETTINGS = load_settings()


def scenario(mode: str = "auto", acceptance: float = 0.8, slo: Slo = NO_SLO) -> Scenario:
    return Scenario(SETTINGS, PROFILE, slo, SpeculationMode.parse(mode, SETTINGS.drafters, 16), acceptance)


def load(rate: float, seconds: float = 10.0) -> list[Arrival]:
    return poisson(rate, seconds, 40, 40, seed=3)


def test_an_hour_of_waiting_takes_no_time() -> None:
    async def wait() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    assert run(wait()) == pytest.approx(3600)


def test_what_can_never_end_is_told() -> None:
    async def stall() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stalled):
        run(stall())


def test_every_request_gets_all_of_its_tokens_and_runs_repeat() -> None:
    arrivals = load(4)
    first, again = (simulate(scenario(), arrivals, 1) for _ in range(2))
    assert first == again
    assert first.tokens_per_second * first.seconds == pytest.approx(sum(each.output_tokens for each in arrivals))


def test_drafting_is_faster_than_not_drafting_where_it_is_accepted() -> None:
    arrivals = load(0.2, 60)
    off, auto = (simulate(scenario(mode), arrivals, 1) for mode in ("off", "auto"))
    assert auto.tpot_p50 < 0.6 * off.tpot_p50
    assert auto.mean_acceptance_length > 3


@pytest.mark.parametrize("rate", [1, 4, 16, 48])
@pytest.mark.parametrize("acceptance", [0.3, 0.8])
def test_at_no_load_is_auto_slower_than_not_drafting(rate: float, acceptance: float) -> None:
    arrivals = load(rate)
    off, auto = (simulate(scenario(mode, acceptance), arrivals, 1) for mode in ("off", "auto"))
    assert auto.tokens_per_second >= 0.97 * off.tokens_per_second
    assert auto.tpot_p50 <= 1.05 * off.tpot_p50


@cache
def rate(requests: int, acceptance: float, mode: str = "auto", believed: float = 1.0) -> float:
    """Tokens per second of as many at once, of 400 tokens each; costs are first `believed` times what they are."""
    profile = Profile(
        tuple((work, believed * seconds) for work, seconds in PROFILE.verify),
        tuple((work, believed * seconds) for work, seconds in PROFILE.draft),
    )
    deceived = replace(scenario(mode, acceptance), believed=profile, seed=1)
    return simulate(deceived, [Arrival(0.0, 40, 400)] * requests, 1).tokens_per_second


@pytest.mark.parametrize("believed", [3, 1 / 3])
@pytest.mark.parametrize(("requests", "acceptance"), [(1, 0.05), (1, 0.3), (16, 0.3)])
def test_costs_believed_wrongly_take_little_where_drafts_hardly_pay(
    requests: int, acceptance: float, believed: float
) -> None:
    assert rate(requests, acceptance, believed=believed) >= 0.95 * rate(requests, acceptance, "off")


@pytest.mark.parametrize("believed", [3, 1 / 3])
def test_costs_believed_wrongly_leave_a_request_alone_nine_tenths_of_its_gain(believed: float) -> None:
    plain = rate(1, 0.8, "off")
    assert rate(1, 0.8, believed=believed) - plain >= 0.9 * (rate(1, 0.8) - plain) > plain


@pytest.mark.parametrize("believed", [3, 1 / 3])
def test_costs_believed_wrongly_take_at_most_a_quarter_where_drafts_nearly_pay(believed: float) -> None:
    assert rate(16, 0.8, believed=believed) >= 0.75 * rate(16, 0.8, "off")


@pytest.mark.parametrize("baseline", ["fixed", "schedule", "smartspec", "adaspec"])
def test_over_all_loads_auto_keeps_more_promises_than_each_baseline(baseline: str) -> None:
    slo = Slo(ttft=1.0, tpot=0.08)
    kept = {
        mode: sum(simulate(scenario(mode, slo=slo), load(rate, 6), 1).attainment for rate in (2, 6, 12, 20))
        for mode in ("auto", f"auto:{baseline}")
    }
    assert kept["auto"] >= kept[f"auto:{baseline}"] - 0.1


def test_where_the_pace_is_tight_auto_keeps_more_promises_than_a_fixed_length_of_the_right_drafter() -> None:
    """It did no better while all drafted as deep as was best for their sum: those missed whose drafts bring less."""
    verify = tuple((work, 1e-3 + work.steps * (15e-3 + 0.9e-3 * work.tokens)) for work in VERIFY_WORKS)
    dear, slo = Profile(verify, PROFILE.draft), Slo(ttft=2.0, tpot=0.025)
    kept = {
        mode: sum(
            simulate(replace(scenario(mode, 0.75, slo), profile=dear), poisson(8, 30, 28, 40, seed), 1).attainment
            for seed in (3, 4, 5)
        )
        for mode in ("auto", "routed:4")
    }
    assert kept["auto"] >= kept["routed:4"] + 0.1


def test_more_replicas_keep_more_promises_and_the_fewest_are_found() -> None:
    arrivals, promised = load(40, 4), scenario(slo=Slo(ttft=0.5, tpot=0.06))
    shares = [outcome_of(promised, arrivals, replicas).attainment for replicas in (1, 8)]
    assert shares[0] < shares[1]
    replicas, outcome = fewest(promised, arrivals, 0.9)
    assert 1 < replicas <= 8 and outcome.attainment >= 0.9
    assert outcome_of(promised, arrivals, replicas - 1).attainment < 0.9


def test_a_large_fleet_is_planned_from_a_sample_of_it() -> None:
    arrivals = load(200, 3)
    outcome = outcome_of(scenario(slo=Slo(ttft=1.0)), arrivals, 64)
    assert outcome.requests == len(arrivals)
    assert outcome.tokens_per_second * outcome.seconds == pytest.approx(
        sum(each.output_tokens for each in arrivals), rel=0.3
    )


def test_public_traces_are_read_in_their_own_form(tmp_path: Path) -> None:
    azure, mooncake = tmp_path / "azure.csv", tmp_path / "mooncake.jsonl"
    azure.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,110,27\n"
    )
    mooncake.write_text(
        '{"timestamp": 0, "input_length": 5, "output_length": 6}\n'
        '{"timestamp": 3000.0, "input_length": 7, "output_length": 8}\n'
    )
    later, own = tmp_path / "azure_2024.csv", tmp_path / "own.jsonl"
    later.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00+00:00,1,2\n2024-05-10 00:00:00.250000+00:00,3,4\n"
    )
    own.write_text("".join(f'{{"arrival_s": {at}, "prompt_tokens": 1, "output_tokens": 2}}\n' for at in (1, 3)))
    assert [each.at for each in read_trace(later)] == pytest.approx([0.0, 0.25])
    assert [each.at for each in read_trace(own)] == [0.0, 2.0]

    assert [each.prompt_tokens for each in read_trace(azure)] == [4808, 110]
    assert read_trace(azure)[1].at == pytest.approx(0.052, abs=1e-4)
    assert read_trace(mooncake) == [Arrival(0.0, 5, 6), Arrival(3.0, 7, 8)]
    cut = fitted(read_trace(azure), speed=2.0, share=1.0, room=1024, seed=0)
    assert cut[0] == Arrival(0.0, 1014, 10) and cut[1].at == pytest.approx(0.026, abs=1e-4)


def test_only_what_does_not_fit_is_cut() -> None:
    lengths = [(300, 700), (300, 900), (4000, 400)]
    fits, long, longer = fitted([Arrival(0.0, *each) for each in lengths], 1.0, 1.0, room=1024, seed=0)
    assert (fits.prompt_tokens, fits.output_tokens) == (300, 700)
    assert (long.prompt_tokens, long.output_tokens) == (300, 724)
    assert (longer.prompt_tokens, longer.output_tokens) == (768, 256)


def test_a_line_that_is_no_object_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text("5\n")
    with pytest.raises(TraceError, match="arrival 1 is no JSON object: 5"):
        read_trace(path)


@pytest.mark.parametrize(
    ("text", "mentioned"),
    [
        ("TIMESTAMP,ContextTokens\n1,2\n", "has no column GeneratedTokens or output_length or output_tokens"),
        ("arrival_s,prompt_tokens,output_tokens\n2.5,1,1\n1.5,1,1\n", "arrival 2 comes before the one above it"),
        ("arrival_s,prompt_tokens,output_tokens\nsoon,1,1\n", "arrival 1 has no usable time"),
        ("arrival_s,prompt_tokens,output_tokens\n", "holds no arrival"),
    ],
)
def test_a_trace_that_cannot_be_used_is_named_with_its_fault(tmp_path: Path, text: str, mentioned: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(TraceError, match=mentioned):
        read_trace(path)


def test_a_plan_is_printed_from_a_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ProfileStore(tmp_path / "profile.json").save(PROFILE)
    arguments = ["plan", "--profile", str(tmp_path / "profile.json"), "--rate", "2", "--seconds", "10", "--json"]
    assert main(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["replicas"] == 1 and printed["requests"] > 5 and math.isfinite(printed["tpot_p99"])
    assert set(Outcome.__dataclass_fields__) < set(printed)
    assert printed["costs"] == "profiled"


def test_a_plan_goes_by_what_was_learnt_while_serving(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ProfileStore(tmp_path / "profile.json")
    store.save(PROFILE)
    arguments = ["plan", "--profile", str(store.path), "--rate", "1", "--seconds", "10", "--speculation", "off"]
    main([*arguments, "--json"])
    profiled = json.loads(capsys.readouterr().out)
    store.save_learnt(twice_as_slow())
    main([*arguments, "--json"])
    learnt = json.loads(capsys.readouterr().out)
    assert learnt["costs"] == "learnt" and learnt["tpot_p50"] > 1.8 * profiled["tpot_p50"]


def twice_as_slow() -> Learnt:
    costs = CostModel()
    costs.learn(PROFILE.verify, PROFILE.draft)
    return {stage: [2 * weight for weight in weights] for stage, weights in costs.learnt().items()}


@pytest.mark.parametrize(
    ("arguments", "mentioned"),
    [
        (["--acceptance", "1.5"], "--acceptance must be from 0.01 to 0.99, got 1.5"),
        (["--seed", "-1"], "--seed must be at least 0, got -1"),
        (["--rate", "-1"], "--rate must be above 0, got -1.0"),
        (["--slo-class", "gold"], "--slo-class must be one of interactive, standard, batch, got 'gold'"),
        (["--trace", "/nowhere.csv"], "/nowhere.csv: cannot be read as a trace"),
        (["--profile", "/nowhere.json"], "/nowhere.json holds no cost profile"),
        (["--speculation", "sometimes"], "speculation must be auto, off"),
    ],
)
def test_what_cannot_be_planned_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], mentioned: str
) -> None:
    ProfileStore(tmp_path / "profile.json").save(PROFILE)
    assert main(["plan", "--profile", str(tmp_path / "profile.json"), *arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert mentioned in line


def test_a_profile_that_cannot_be_read_is_measured_anew(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path / "cache" / "profile.json")
    assert store.load() is None
    store.save(PROFILE)
    assert store.load() == PROFILE
    store.path.write_text('{"verify": [1]}')
    assert store.load() is None


def test_learnt_costs_that_cannot_be_used_are_as_good_as_none(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path / "profile.json")
    assert store.load_learnt() is None
    store.save_learnt(twice_as_slow())
    assert store.load_learnt() == twice_as_slow()
    for other in ({"verify": [1.0]}, {**twice_as_slow(), "draft": [1.0]}):
        store.save_learnt(other)
        assert store.load_learnt() is None


def test_what_is_measured_anew_is_learnt_anew(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path / "profile.json")
    store.save(PROFILE)
    store.save_learnt(twice_as_slow())
    store.clear()
    assert not list(tmp_path.iterdir())


def test_measurements_are_predicted_from_the_others() -> None:
    pairs = held_out(PROFILE)
    assert len(pairs) == len(PROFILE.verify) + len(PROFILE.draft)
    errors = sorted(errors_of(pairs))
    assert errors[len(errors) // 2] < 0.1
