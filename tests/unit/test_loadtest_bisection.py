"""The search for the knee, on a server that is a number."""

from dataclasses import dataclass

import pytest

from loadtests.slo.bisection import Knee, Search, find_knees


@dataclass(frozen=True)
class Answer:
    attained: bool
    counts: bool = True


def search(knee: float, start: float = 4.0) -> Knee[Answer]:
    *_, last = find_knees({"it": new_search(start)}, lambda _, rate, __: Answer(rate <= knee))
    return last["it"]


def new_search(start: float = 4.0, attempts: int = 1) -> Search[Answer]:
    return Search(start, low=0.1, high=1000.0, precision=0.1, attempts=attempts)


@pytest.mark.parametrize("knee", [0.3, 3.99, 4.0, 5.0, 47.0, 400.0])
def test_the_knee_is_found_to_the_precision_from_either_side(knee: float) -> None:
    found = search(knee)
    assert found.above is not None and found.rate <= knee < found.above <= found.rate * 1.1 * 1.0001
    assert len(found.trials) < 16


def test_no_rate_is_tried_twice_and_each_is_kept_with_its_answer() -> None:
    rates = [rate for rate, _ in search(30).trials]
    assert rates[:4] == [4, 8, 16, 32] and len(set(rates)) == len(rates)
    assert all(answer.attained == (rate <= 30) for rate, answer in search(30).trials)


def test_a_server_that_never_or_always_attains_ends_the_search() -> None:
    assert search(0).rate == 0 and search(0).trials[-1][0] > 0.1
    assert search(1e9).above is None and search(1e9).rate > 500


def test_searches_take_turns() -> None:
    knees = {"slow": 3.0, "fast": 30.0}
    tried: list[str] = []

    def measure(name: str, rate: float, attempt: int) -> Answer:
        tried.append(name)
        return Answer(rate <= knees[name])

    *_, found = find_knees({name: new_search() for name in knees}, measure)
    assert tried[:8] == ["slow", "fast"] * 4
    assert all(found[name].rate <= knee < found[name].rate * 1.11 for name, knee in knees.items())


@pytest.mark.parametrize("odd_moment", [1, 2, 9, 10, 11])
def test_one_odd_moment_moves_no_knee_where_most_of_three_trials_decide(odd_moment: int) -> None:
    moments = iter(range(1000))

    def measure(_: str, rate: float, attempt: int) -> Answer:
        return Answer((rate <= 30) != (next(moments) == odd_moment))

    *_, found = find_knees({"it": new_search(attempts=3)}, measure)
    assert found["it"].rate <= 30 < found["it"].rate * 1.11


def test_a_rate_is_tried_until_most_trials_agree() -> None:
    answers = iter([True, True, False, True, True, False, False])
    search = new_search(attempts=3)
    tried = []
    for answer in answers:
        tried.append(search.next_rate)
        search.add(Answer(answer))
    assert tried == [4, 4, 8, 8, 8, 16, 16] and search.next_rate == pytest.approx(8 * 2**0.5)


def test_a_trial_that_says_nothing_is_repeated_but_not_for_ever() -> None:
    search = new_search(attempts=1)
    search.add(Answer(False, counts=False))
    assert (search.next_rate, search.attempt) == (4, 1)
    search.add(Answer(True))
    assert search.next_rate == 8
    for _ in range(2):
        search.add(Answer(False, counts=False))
    assert search.next_rate == pytest.approx(32**0.5) and len(search.knee.trials) == 4


def test_each_attempt_is_told_which_it_is() -> None:
    told: list[tuple[float, int]] = []

    def measure(_: str, rate: float, attempt: int) -> Answer:
        told.append((rate, attempt))
        return Answer(rate <= 4)

    list(find_knees({"it": new_search(attempts=3)}, measure))
    assert told[:4] == [(4.0, 0), (4.0, 1), (8.0, 0), (8.0, 1)]
