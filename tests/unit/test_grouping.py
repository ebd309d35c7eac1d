"""Batch scheduling: which requests make a round."""

import numpy as np
import pytest
from cospec.speculation.cost_model import StageCost
from cospec.speculation.grouping import Candidate, Limits, choose_group


def costs(seconds: "tuple[float, float, float]" = (5e-3, 1e-4, 1e-4), per_context: float = 0.0) -> StageCost:
    """A stage that costs so much a call, a row, a token, and a token of 1,000 tokens of context."""
    cost, random = StageCost(), np.random.default_rng(0)
    for _ in range(500):
        rows, nodes, longest = int(random.integers(1, 33)), int(random.integers(0, 16)), int(random.integers(10, 1000))
        tokens = rows * (1 + nodes)
        exact = float(np.dot([*seconds, per_context], [1, rows, tokens, tokens * longest / 1000]))
        cost.observe(rows, tokens, longest, exact)
    return cost


def limits(requests: int = 64, tokens: int = 10_000, seconds: float = 60.0, weight: float = 0.0) -> Limits:
    return Limits(requests, tokens, seconds, weight)


def test_the_cost_of_a_stage_is_learnt_from_its_calls() -> None:
    cost = costs((4e-3, 2e-4, 5e-5), 1e-5)
    assert cost.seconds(7, 63, 500) == pytest.approx(4e-3 + 7 * 2e-4 + 63 * 5e-5 + 63 * 0.5 * 1e-5, rel=0.02)


def test_requests_share_a_round_as_its_fixed_cost_is_shared() -> None:
    waiting = [Candidate(100, 8)] * 20
    assert sorted(choose_group(waiting, costs(), costs(), limits())) == list(range(20))


def test_the_one_that_waits_the_longest_is_always_taken_with_those_of_like_length() -> None:
    waiting = [Candidate(length, 8) for length in (500, 10, 20, 480, 30, 510, 40, 505)]
    group = choose_group(waiting, costs(per_context=1e-2), costs(per_context=1e-2), limits(4))
    assert 0 in group and len(group) == 4
    assert {waiting[index].length for index in group} == {480, 500, 505, 510}
    alone = choose_group([Candidate(500, 8), *[Candidate(10, 8)] * 3], costs(), costs(), limits(1))
    assert alone == [0]


def test_a_round_keeps_to_its_tokens_and_to_its_time() -> None:
    waiting = [Candidate(100, 8)] * 32
    assert len(choose_group(waiting, costs(), costs(), limits(tokens=70))) == 8
    slow = costs((1e-3, 1e-2, 0.0))
    assert len(choose_group(waiting, slow, slow, limits(seconds=0.1))) == 4


def test_sparing_the_verifier_can_be_worth_smaller_rounds() -> None:
    waiting = [Candidate(100, 8)] * 32
    assert len(choose_group(waiting, costs(), costs(), limits(weight=1e-3))) == 1


def test_rounds_of_one_request_do_not_make_large_groups_look_dear() -> None:
    slow = StageCost()
    for length in range(50, 250):
        slow.observe(1, 1 + length % 8, length, 0.03 + 0.0005 * (length % 8))
    waiting = [Candidate(100, 0)] * 64
    assert len(choose_group(waiting, slow, slow, Limits(64, 512, 5.0, 0.0))) == 64
