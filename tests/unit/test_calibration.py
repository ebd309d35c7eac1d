"""Calibrated confidence: chances learnt from outcomes."""

import math

import numpy as np
import pytest
from cospec.speculation.calibration import Calibration, Calibrator


def outcomes(slope: float, intercept: float, count: int, seed: int = 0) -> list[tuple[float, bool]]:
    random = np.random.default_rng(seed)
    margins = random.normal(0, 1.5, count)
    hits = random.random(count) < 1 / (1 + np.exp(-(slope * margins + intercept)))
    return list(zip(margins.tolist(), hits.tolist(), strict=True))


@pytest.mark.parametrize(("slope", "intercept"), [(3.0, -0.5), (0.6, 0.3), (1.5, -1.5)])
def test_it_learns_what_margins_are_worth_a_round_at_a_time(slope: float, intercept: float) -> None:
    calibrator = Calibrator()
    hits = outcomes(slope, intercept, 4000)
    for start in range(0, len(hits), 8):
        calibrator.observe(hits[start : start + 8])
    assert calibrator.slope == pytest.approx(slope, rel=0.25)
    assert calibrator.intercept == pytest.approx(intercept, abs=0.25)


def test_it_follows_a_drafter_that_changes() -> None:
    calibrator = Calibrator()
    for seed, slope in enumerate([3.0] * 500 + [0.5] * 4000):
        calibrator.observe(outcomes(slope, 0.0, 8, seed))
    assert calibrator.slope == pytest.approx(0.5, abs=0.25)


def test_infinite_margins_and_one_sided_outcomes_leave_it_finite() -> None:
    calibrator = Calibrator()
    for _ in range(200):
        calibrator.observe([(math.inf, True), (-math.inf, False), (40.0, True)])
    chances = calibrator.chances([math.inf, 0.0, -math.inf])
    assert np.isfinite(chances).all() and chances[0] > 0.95 > 0.05 > chances[2]


def test_margins_that_are_all_alike_are_worth_how_often_they_were_right() -> None:
    calibrator = Calibrator()
    for seed in range(2000):
        hits = np.random.default_rng(seed).random(100) < 0.8
        calibrator.observe([(6.0, hit) for hit in hits.tolist()])
    assert calibrator.chances([6.0]) == [pytest.approx(0.8, abs=0.05)]


def test_a_lead_never_makes_a_token_less_probable() -> None:
    calibrator = Calibrator()
    for seed in range(300):
        calibrator.observe([(margin, not hit) for margin, hit in outcomes(3.0, 0.0, 8, seed)])
    best, ahead, behind = calibrator.chances([math.inf, 2.0, -2.0])
    assert best >= ahead >= behind


def test_drafters_and_kinds_of_sampling_are_calibrated_apart() -> None:
    calibration = Calibration()
    assert calibration.of("a", True) is calibration.of("a", True)
    assert len({id(calibration.of(name, greedy)) for name in "ab" for greedy in (True, False)}) == 4
