"""How much to draft, for groups of every size, and what other systems would do."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from cospec.speculation.acceptance import Acceptance, CommonAcceptance
from cospec.speculation.baselines import AdaSpec, Fixed, Off, Schedule, SmartSpec
from cospec.speculation.controller import Adaptive, Decision, Occasion, Outlook, plain_rate
from cospec.speculation.cost_model import CostModel, VerifyWork
from test_cost_model import DRAFT_WORKS, VERIFY_WORKS, true_draft


def costs(per_token: float) -> CostModel:
    """A verifier whose tokens cost so much each beyond the sixteenth."""
    model = CostModel()
    verify = [
        (work, 1e-3 + work.steps * (30e-3 + per_token * max(0, work.tokens - 16) + 1e-4 * work.rows))
        for work in VERIFY_WORKS
    ]
    model.learn(verify, [(work, true_draft(work)) for work in DRAFT_WORKS])
    return model


COSTLY = costs(1e-3)


def occasion(chances: Sequence[float], deepest: int = 12, seconds: float = math.inf, **outlook: object) -> Occasion:
    outlooks = [Outlook(chance, deepest, 60, **outlook) for chance in chances]  # type: ignore[arg-type]
    return Occasion(outlooks, VerifyWork(len(chances), len(chances), 100), 5, 4, seconds=seconds)


def test_one_request_drafts_deep_and_many_draft_less_or_not_at_all() -> None:
    stops = [Adaptive().decide(occasion([0.8] * size), COSTLY).stop_below for size in (1, 4, 8)]
    assert 0 < stops[0] < stops[1] < stops[2]
    assert not Adaptive().decide(occasion([0.3] * 64), COSTLY).drafts


def test_of_a_mixed_group_those_draft_whose_drafts_are_accepted() -> None:
    decision = Adaptive().decide(occasion([0.9] * 26 + [0.06] * 6), costs(2e-4))
    assert all(decision.depths[:26]) and not any(decision.depths[26:])


def test_a_few_do_not_draft_at_the_cost_of_most() -> None:
    assert not Adaptive().decide(occasion([0.95] * 4 + [0.06] * 28), costs(1e-4)).drafts


def test_few_do_not_draft_while_the_prompts_of_many_are_read_whose_first_tokens_wait_for_it() -> None:
    dear = CostModel()
    dear.learn(
        [(work, 2e-3 + 3e-3 * work.steps + 1e-5 * work.tokens) for work in VERIFY_WORKS],
        [(work, 2e-3 + 4e-4 * work.steps) for work in DRAFT_WORKS],
    )
    two, six_prompts = [Outlook(0.85, 12, 60)] * 2, [Outlook(0.85, 0, 64)] * 6
    alone = Occasion(two, VerifyWork(2, 2, 100), 5, 4)
    beside = Occasion([*two, *six_prompts], VerifyWork(8, 170, 100), 5, 4)
    assert Adaptive().decide(alone, dear).drafts
    assert not Adaptive().decide(beside, dear).drafts


def test_what_must_not_draft_does_not() -> None:
    assert not Adaptive().decide(occasion([0.9], deepest=0), COSTLY).drafts


def test_where_nobody_should_draft_there_is_still_a_price_for_those_whose_callers_want_it() -> None:
    decision = Adaptive().decide(occasion([0.06] * 64), COSTLY)
    assert not decision.drafts and decision.price > 0 and decision.stop_below > 0


def test_a_drafter_that_has_much_to_catch_up_with_waits_until_it_pays() -> None:
    dear = CostModel()
    dear.learn([(w, 5e-3 * w.steps) for w in VERIFY_WORKS], [(w, 1e-3 + 1e-3 * w.tokens) for w in DRAFT_WORKS])
    assert Adaptive().decide(occasion([0.8]), dear).drafts
    assert not Adaptive().decide(occasion([0.8], unread=900), dear).drafts


def test_a_round_that_would_take_too_long_drafts_less() -> None:
    free = Adaptive().decide(occasion([0.8] * 8), COSTLY)
    bound = Adaptive().decide(occasion([0.8] * 8, seconds=0.036), COSTLY)
    assert free.drafts and (not bound.drafts or bound.stop_below > free.stop_below)


def test_nothing_that_it_decides_is_expected_to_be_slower_than_plain_decoding() -> None:
    for size in (1, 2, 4, 8, 16, 32, 64):
        for chance in (0.1, 0.4, 0.7, 0.9):
            group = occasion([chance] * size)
            decision = Adaptive().decide(group, COSTLY)
            assert not decision.drafts or decision.promised >= plain_rate(group, COSTLY)


@pytest.mark.parametrize("controller", [Adaptive(), SmartSpec(), AdaSpec(), Schedule({64: 4}), Fixed(4), Off()])
def test_nobody_drafts_beyond_what_a_request_can_use(controller: Adaptive) -> None:
    group = Occasion([Outlook(0.9, 12, 60), Outlook(0.9, 2, 3), Outlook(0.9, 0, 1)], VerifyWork(3, 3, 100), 5, 4)
    decision: Decision = controller.decide(group, COSTLY)
    assert len(decision.depths) == 3
    assert decision.depths[1] <= 2 and decision.depths[2] == 0


def test_baselines_draft_as_they_do_where_they_come_from() -> None:
    few, many = occasion([0.8]), occasion([0.8] * 64)
    assert Fixed(5).decide(many, COSTLY).depths == (5,) * 64
    schedule = Schedule({1: 8, 4: 2})
    assert [schedule.decide(occasion([0.8] * size), COSTLY).depths[0] for size in (1, 3, 5)] == [8, 2, 0]
    assert SmartSpec().decide(few, COSTLY).depths[0] > SmartSpec().decide(many, COSTLY).depths[0]
    assert AdaSpec().decide(few, COSTLY).depths[0] > AdaSpec().decide(many, COSTLY).depths[0]


def test_smartspec_keeps_its_length_for_some_rounds() -> None:
    controller = SmartSpec()
    first = controller.decide(occasion([0.8]), COSTLY).depths[0]
    assert controller.decide(occasion([0.1] * 64), COSTLY).depths[0] == first


def test_the_chance_of_a_sequence_follows_its_own_rounds() -> None:
    good, bad, common = Acceptance(), Acceptance(), CommonAcceptance()
    for _ in range(8):
        good.observe(6, 8)
        bad.observe(0, 8)
        common.observe(3, 8)
    assert good.chance(common.chance) > 0.75 > 0.5 > bad.chance(common.chance)
    assert 1 / (1 - common.chance) == pytest.approx(4, rel=0.15)


def test_a_draft_accepted_to_its_end_is_no_failure() -> None:
    whole = Acceptance()
    for _ in range(20):
        whole.observe(4, 4)
    assert whole.chance(0.5) > 0.9


def test_what_does_not_draft_is_tried_again_some_day() -> None:
    unlucky, common = Acceptance(), CommonAcceptance()
    for _ in range(8):
        unlucky.observe(0, 8)
    for _ in range(12):
        unlucky.forget()
    assert unlucky.chance(0.8) > 0.75
    for _ in range(100):
        common.observe(0, 8)
    low = common.chance
    for _ in range(2_000):
        common.forget()
    assert low < 0.1 and common.chance > 0.6


def test_now_and_then_a_round_without_drafts_shows_what_it_is_worth() -> None:
    drafting = occasion([0.9])
    assert Adaptive().decide(drafting, COSTLY).drafts
    assert not Adaptive().decide(replace(drafting, probes_plain=True), COSTLY).drafts


def test_now_and_then_drafts_are_tried_where_they_do_not_seem_to_pay() -> None:
    idle = occasion([0.3] * 64)
    assert not Adaptive().decide(idle, COSTLY).drafts
    assert Adaptive().decide(replace(idle, probes_drafts=True), COSTLY).drafts


def test_what_rounds_without_drafts_were_better_than_foretold_counts() -> None:
    assert not Adaptive().decide(replace(occasion([0.7]), plain_trust=3.0), COSTLY).drafts


def test_where_a_pace_is_promised_all_draft_alike() -> None:
    outlooks = [Outlook(chance, 12, 60, behind=0.0, pace=12.0) for chance in (0.9, 0.9, 0.5, 0.5)]
    decision = Adaptive().decide(Occasion(outlooks, VerifyWork(4, 4, 100), 5, 4), COSTLY)
    assert decision.drafts and len(set(decision.depths)) == 1 and decision.stop_below == 0.0


def test_those_who_are_ahead_do_not_hold_up_one_whose_drafts_bring_less() -> None:
    ahead = [Outlook(0.9, 12, 60, pace=12.0, allowance=1.0)] * 7
    slow = Outlook(0.5, 12, 60, pace=12.0, allowance=0.035)
    alike, own = (
        Adaptive().decide(Occasion([*ahead, each], VerifyWork(8, 8, 100), 5, 4), COSTLY)
        for each in (replace(slow, allowance=1.0), slow)
    )
    assert len(set(alike.depths)) == 1
    assert sum(own.depths) < sum(alike.depths) and own.depths[-1] > max(own.depths[:-1])


def test_nobody_is_held_up_for_a_promise_that_no_round_can_keep() -> None:
    ahead = [Outlook(0.8, 12, 60, pace=12.0, allowance=1.0)] * 3
    easy, hopeless = (
        Adaptive().decide(
            Occasion([*ahead, Outlook(0.8, 12, 60, pace=12.0, allowance=a)], VerifyWork(4, 4, 100), 5, 4), COSTLY
        )
        for a in (1.0, 1e-3)
    )
    assert hopeless.drafts and hopeless.depths == easy.depths


def test_who_is_behind_is_not_helped_by_a_round_that_makes_another_late() -> None:
    slow = Outlook(0.6, 12, 60, pace=12.0, allowance=0.03)
    ahead = [Outlook(0.9, 12, 60, pace=12.0, allowance=1.0)] * 5
    group = Occasion([*ahead, slow], VerifyWork(6, 6, 100), 5, 4)
    longer, shorter = (Adaptive().decide(replace(group, seconds=seconds), COSTLY) for seconds in (0.041, 0.04))
    assert set(longer.depths) == {2}, "which takes 40.9 ms"
    assert shorter.drafts and sum(shorter.depths) < 6


@pytest.mark.parametrize("pace", [0.0, 10.0])
def test_no_draft_makes_a_round_late_that_would_be_in_time_without_it(pace: float) -> None:
    free, bound, late = (
        Adaptive().decide(occasion([0.8] * 4, seconds=seconds, pace=pace), COSTLY) for seconds in (math.inf, 0.04, 0.01)
    )
    assert max(free.depths) > max(bound.depths)
    assert late.depths == free.depths, "it is late either way"


def test_a_sequence_alone_drafts_where_a_uniform_depth_would_pay() -> None:
    """A lone draft is as long as it is expected to be; only among many is one of them near its limit."""
    dear_steps = CostModel()
    dear_steps.learn(
        [(work, 2e-3 + 3e-3 * work.steps) for work in VERIFY_WORKS],
        [(work, 2e-3 + 4e-4 * work.steps * work.drafters) for work in DRAFT_WORKS],
    )
    alone = replace(occasion([0.75]), plain_steps=4)
    assert Adaptive().decide(alone, dear_steps).promised > 1.1 * plain_rate(alone, dear_steps)
