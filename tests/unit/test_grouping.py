"""Batch scheduling: which requests make a round."""

from dataclasses import replace

from cospec.speculation.grouping import PATIENCE, Candidate, Limits, Seconds, choose_group


def costs(call: float = 1e-2, row: float = 2e-4, token: float = 1e-4, per_context: float = 0.0) -> Seconds:
    """A round that costs so much a call, a row, a token, and a token of 1,000 tokens of context."""

    def seconds(rows: int, tokens: int, longest: int) -> float:
        return call + rows * row + (rows + tokens) * (token + per_context * longest / 1000)

    return seconds


def limits(requests: int = 64, tokens: int = 10_000, seconds: float = 60.0, weight: float = 0.0) -> Limits:
    return Limits(requests, tokens, seconds, weight)


def test_requests_share_a_round_as_its_fixed_cost_is_shared() -> None:
    waiting = [Candidate(100, 8)] * 20
    assert sorted(choose_group(waiting, costs(), limits())) == list(range(20))


def test_the_one_that_waits_the_longest_is_always_taken_with_those_of_like_length() -> None:
    waiting = [Candidate(length, 8) for length in (500, 10, 20, 480, 30, 510, 40, 505)]
    group = choose_group(waiting, costs(per_context=1e-2), limits(4))
    assert 0 in group and len(group) == 4
    assert {waiting[index].length for index in group} == {480, 500, 505, 510}
    assert choose_group([Candidate(500, 8), *[Candidate(10, 8)] * 3], costs(), limits(1)) == [0]


def test_a_round_keeps_to_its_tokens_and_to_its_time() -> None:
    waiting = [Candidate(100, 8)] * 32
    assert len(choose_group(waiting, costs(), limits(tokens=70))) == 8
    assert len(choose_group(waiting, costs(1e-3, 1e-2, 0.0), limits(seconds=0.05))) == 4


def test_sparing_the_verifier_can_be_worth_smaller_rounds() -> None:
    assert len(choose_group([Candidate(100, 8)] * 32, costs(), limits(weight=1e-2))) == 1


def test_whoever_was_promised_nothing_waits_where_it_would_make_others_late() -> None:
    waiting = [Candidate(100, 8)] * 8 + [Candidate(100, 8, slack=0.02), Candidate(100, 8, slack=0.5)]
    slow = costs(1e-3, 4e-3, 0.0)
    assert sorted(choose_group(waiting, slow, limits())) == [8, 9]
    in_time = [replace(each, slack=each.slack + 1) for each in waiting]
    assert len(choose_group(in_time, slow, limits())) == 10


def test_whoever_was_promised_nothing_waits_until_the_others_are_rounds_ahead() -> None:
    dear = costs(1e-3, 4e-3, 0.0)  # of these four, a round takes 17 ms
    near, ahead = (
        [Candidate(100, 8), Candidate(100, 8), Candidate(100, 8, slack=slack), Candidate(100, 8, slack=1.0)]
        for slack in (0.05, 0.09)
    )
    assert sorted(choose_group(near, dear, limits())) == [2, 3]
    assert len(choose_group(ahead, dear, limits())) == 4


def test_who_costs_the_others_no_time_need_not_wait() -> None:
    waiting = [Candidate(100, 8), Candidate(100, 8, slack=0.02), Candidate(100, 8, slack=0.02)]
    assert len(choose_group(waiting, costs(1e-2, 1e-5, 0.0), limits())) == 3


def test_a_broken_promise_hurries_nobody() -> None:
    waiting = [Candidate(100, 8), Candidate(100, 8, slack=-0.1), Candidate(100, 8)]
    assert len(choose_group(waiting, costs(), limits())) == 3


def test_who_was_passed_over_for_long_goes_first() -> None:
    waiting = [Candidate(100, 8, slack=0.02), Candidate(100, 8, passed_over=PATIENCE)]
    assert 1 in choose_group(waiting, costs(1e-3, 1.5e-2, 0.0), limits())
