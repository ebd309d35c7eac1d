"""What stages cost: learnt from a profile, refreshed by rounds."""

from dataclasses import replace

import numpy as np
import pytest
from cospec.speculation.cost_model import CostModel, DraftWork, VerifyWork


def true_verify(work: VerifyWork, factor: float = 1.0) -> float:
    """Flat up to 16 tokens, then rising, as where weights are read from memory."""
    forward = 20e-3 + 0.5e-3 * max(0, work.tokens - 16) + 1e-3 * work.rows * work.longest / 1000
    return factor * (1e-3 + work.steps * forward)


def true_draft(work: DraftWork) -> float:
    return 1e-3 + 1e-3 * work.drafters + 0.3e-3 * work.steps + 5e-5 * work.tokens


VERIFY_WORKS = [
    VerifyWork(rows, rows * (1 + nodes), longest, steps)
    for rows in (1, 4, 16, 64)
    for nodes in (0, 3, 7, 15)
    for longest in (50, 400)
    for steps in (1, 4)
]
DRAFT_WORKS = [
    DraftWork(drafters, drafters * rows, steps, drafters * rows * steps)
    for drafters in (1, 5)
    for rows in (1, 8, 64)
    for steps in (1, 4, 12)
]


def profiled() -> CostModel:
    costs = CostModel()
    costs.learn(
        [(work, true_verify(work)) for work in VERIFY_WORKS], [(work, true_draft(work)) for work in DRAFT_WORKS]
    )
    return costs


def test_what_was_not_measured_is_predicted_from_what_was() -> None:
    costs = profiled()
    for work in (VerifyWork(8, 40, 200), VerifyWork(2, 9, 120, 4), VerifyWork(32, 32, 300)):
        assert costs.verify_seconds(work) == pytest.approx(true_verify(work), rel=0.1)
    for drafts in (DraftWork(2, 10, 6, 60), DraftWork(1, 3, 12, 36)):
        assert costs.draft_seconds(drafts) == pytest.approx(true_draft(drafts), rel=0.1)


def test_the_first_tokens_of_a_forward_ride_along() -> None:
    few, some, many = profiled().verify_seconds_of(VerifyWork(1, 1, 100), np.asarray([1, 13, 64]))
    assert some < 1.05 * few and many > 1.5 * few


def test_no_cost_falls_with_more_work() -> None:
    costs = profiled()
    seconds = costs.verify_seconds_of(VerifyWork(4, 4, 200), np.arange(1, 600))
    assert (np.diff(seconds) >= -1e-12).all()


def test_rounds_teach_that_the_machine_has_become_slower_everywhere() -> None:
    costs, random = profiled(), np.random.default_rng(0)
    for _ in range(400):
        rows = int(random.integers(1, 17))
        work = VerifyWork(rows, rows * int(random.integers(1, 9)), 100)
        costs.observe_verify(work, true_verify(work, 2.0))
    elsewhere = VerifyWork(64, 128, 100)
    assert costs.verify_seconds(VerifyWork(8, 32, 100)) == pytest.approx(
        true_verify(VerifyWork(8, 32, 100), 2.0), rel=0.1
    )
    assert costs.verify_seconds(elsewhere) > true_verify(elsewhere)


def test_a_hiccup_counts_as_little_more_than_a_slow_round() -> None:
    costs, work = profiled(), VerifyWork(4, 16, 100)
    costs.observe_verify(work, 30.0)
    assert costs.verify_seconds(work) < 2 * true_verify(work)


def test_rounds_of_one_request_do_not_make_large_groups_look_dear() -> None:
    costs = CostModel()
    for length in range(50, 250):
        costs.observe_verify(VerifyWork(1, 1 + length % 8, length), 0.03 + 0.0005 * (length % 8))
    assert costs.verify_seconds(VerifyWork(64, 64, 100)) < 0.2


def test_costs_of_many_numbers_of_tokens_are_those_of_each() -> None:
    model = CostModel()
    model.learn([(work, true_verify(work)) for work in VERIFY_WORKS], [])
    work, tokens = VerifyWork(4, 9, 300, 2), np.asarray([0, 4, 9, 17, 64, 500])
    each = [model.verify_seconds(replace(work, tokens=int(number))) for number in tokens]
    assert model.verify_seconds_of(work, tokens) == pytest.approx(each)
