"""When waiting requests get a session."""

import math

from cospec.speculation.admission import MOST_WAIT, AtOnce, Wait


def steady(rate: float, iteration: float) -> Wait:
    policy = Wait(lambda: iteration)
    for number in range(50):
        policy.arrived(number / rate)
    return policy


def test_by_default_nobody_is_held_back() -> None:
    assert AtOnce().releases(1, 60, 0.0, 0.0, math.inf)


def test_as_many_go_on_together_as_come_in_a_round() -> None:
    policy = steady(rate=20.0, iteration=0.19)
    assert policy.threshold == 4
    assert [policy.releases(waiting, 10, 3.0, 0.01, math.inf) for waiting in (1, 3, 4)] == [False, False, True]


def test_where_nobody_decodes_nobody_waits() -> None:
    assert steady(20.0, 0.2).releases(1, 0, 3.0, 0.0, math.inf)


def test_a_prompt_is_not_held_for_long_and_less_so_when_it_is_due_soon() -> None:
    policy = steady(20.0, 0.2)
    assert policy.releases(1, 10, 3.0, MOST_WAIT, math.inf)
    assert policy.releases(1, 10, 3.0, 0.1, 0.2) and not policy.releases(1, 10, 3.0, 0.1, 2.0)
    assert policy.releases(1, 10, 3.0, 0.1, -1.0)
