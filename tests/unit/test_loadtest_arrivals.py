"""When requests are sent."""

import itertools
from random import Random
from statistics import mean, pvariance

import pytest

from loadtests.bad_input import BadInput
from loadtests.generator.arrivals import OPTIONS, TRACE, parse_arrivals, schedule

OPEN = [kind for kind in OPTIONS if kind not in ("closed", TRACE)]


def times(text: str, rate: float = 20.0, duration: float = 200.0, seed: int = 0) -> list[float]:
    return schedule(parse_arrivals(text), rate, duration, Random(seed))


def rate_between(at: list[float], low: float, high: float) -> float:
    return sum(low <= moment < high for moment in at) / (high - low)


def dispersion(at: list[float]) -> float:
    """Variance of the gaps over their squared mean: 1 for Poisson."""
    gaps = [later - earlier for earlier, later in itertools.pairwise(at)]
    return pvariance(gaps) / mean(gaps) ** 2


@pytest.mark.parametrize("kind", OPEN)
def test_every_schedule_is_in_order_within_its_time_and_follows_its_seed(kind: str) -> None:
    at = times(kind)
    assert at == sorted(at) and at[0] >= 0 and at[-1] < 200
    assert at == times(kind)
    assert kind == "constant" or at != times(kind, seed=1)


@pytest.mark.parametrize("kind", ["constant", "poisson", "soak", "gamma", "diurnal"])
def test_the_mean_rate_is_the_one_asked_for(kind: str) -> None:
    assert len(times(kind, duration=1000)) == pytest.approx(20_000, rel=0.05)


def test_gamma_gaps_are_as_bursty_as_asked_and_poisson_ones_are_not() -> None:
    assert dispersion(times("poisson", duration=1000)) == pytest.approx(1, rel=0.1)
    assert dispersion(times("gamma:burstiness=0.25", duration=1000)) == pytest.approx(4, rel=0.15)
    assert dispersion(times("gamma:burstiness=4", duration=1000)) == pytest.approx(0.25, rel=0.1)


def test_a_step_rises_in_equal_levels_to_the_rate() -> None:
    at = times("step:levels=4", duration=400)
    levels = [rate_between(at, low, low + 100) for low in (0, 100, 200, 300)]
    assert levels == pytest.approx([5, 10, 15, 20], rel=0.2)


def test_a_spike_is_as_high_and_wide_as_asked_and_ends() -> None:
    at = times("spike:height=5,at=0.5,width=0.2", duration=1000)
    assert rate_between(at, 400, 600) == pytest.approx(100, rel=0.1)
    assert rate_between(at, 0, 400) == pytest.approx(20, rel=0.1) == rate_between(at, 600, 1000)


def test_a_day_has_its_night_at_both_ends() -> None:
    at = times("diurnal:depth=0.8", duration=1000)
    assert rate_between(at, 450, 550) == pytest.approx(36, rel=0.1)
    assert rate_between(at, 0, 50) < 7 and rate_between(at, 950, 1000) < 7


@pytest.mark.parametrize(
    "text, words",
    [
        ("weibull", "arrivals must be one of closed, constant, poisson"),
        ("gamma:shape=2", "unknown option 'shape=2'; options, as name=number: burstiness"),
        ("gamma:burstiness=none", "burstiness must be a number, got 'none'"),
        ("gamma:burstiness=0", "burstiness must be from 0.01 to 100, got 0"),
        ("gamma:burstiness=nan", "burstiness must be from 0.01 to 100, got nan"),
        ("trace", "needs a file"),
        ("poisson:levels=3", "options, as name=number: none"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_in_a_sentence(text: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        parse_arrivals(text)
