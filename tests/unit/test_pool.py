"""Who gets the next session."""

import asyncio
from collections.abc import Sequence as Rows

from cospec.speculation.pool import PATIENCE, RequestPool
from cospec.speculation.sequence import Sequence
from cospec.speculation.slo import NO_SLO, Slo
from scripted_rounds import decode, make_request


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def waiting(number: int, submitted_at: float, slo: Slo = NO_SLO) -> Sequence:
    sequence = Sequence.create(number, make_request(slo=slo), decode, ())
    sequence.submitted_at = submitted_at
    return sequence


def order(sequences: Rows[Sequence], now: float) -> list[int]:
    """One after the other gets the only session."""
    clock = Clock()
    pool = RequestPool(100, 1, clock)
    for sequence in sequences:
        pool.add(sequence)
    clock.now = now

    async def take_all() -> list[int]:
        taken = []
        while len(pool):
            [sequence] = await pool.take_group(lambda ready: list(range(len(ready))))
            taken.append(sequence.session_id)
            pool.retire()
        return taken

    return asyncio.run(take_all())


def test_without_promises_whoever_came_first_goes_first() -> None:
    assert order([waiting(1, 0.0), waiting(2, 0.5), waiting(3, 0.7)], now=1.0) == [1, 2, 3]


def test_whose_first_token_is_due_the_soonest_goes_first() -> None:
    patient, hurried = waiting(1, 0.0, Slo(ttft=5.0)), waiting(2, 0.5, Slo(ttft=1.0))
    assert order([patient, hurried, waiting(3, 0.0)], now=1.0) == [2, 1, 3]


def test_a_promise_that_is_broken_already_lets_others_be_kept() -> None:
    broken, kept = waiting(1, 0.0, Slo(ttft=0.5)), waiting(2, 0.9, Slo(ttft=2.0))
    assert order([broken, kept], now=1.0) == [2, 1]


def test_who_was_promised_something_does_not_wait_for_the_room_of_those_who_were_not() -> None:
    clock = Clock()
    pool = RequestPool(100, 100, clock, has_room=lambda ready, candidate: candidate.request.slo.promises)
    for sequence in [waiting(1, 0.0), *(waiting(number, 0.0, Slo(ttft=0.5)) for number in (2, 3)), waiting(4, 0.0)]:
        pool.add(sequence)
    clock.now = 1.0  # too late for the promises: they are due behind the others
    group = asyncio.run(pool.take_group(lambda ready: list(range(len(ready)))))
    assert [sequence.session_id for sequence in group] == [1, 2, 3] and pool.num_waiting == 1


def test_who_was_promised_something_and_has_no_room_is_not_overtaken() -> None:
    pool = RequestPool(100, 100, Clock(), has_room=lambda ready, candidate: not candidate.request.slo.promises)
    for sequence in [waiting(1, 0.0), *(waiting(number, 0.0, Slo(ttft=0.5)) for number in (2, 3))]:
        pool.add(sequence)
    group = asyncio.run(pool.take_group(lambda ready: list(range(len(ready)))))
    assert [sequence.session_id for sequence in group] == [2] and pool.num_waiting == 2  # one alone always has room


def test_nobody_waits_for_ever() -> None:
    broken, late = waiting(1, 0.0, Slo(ttft=0.5)), 2 * PATIENCE
    assert order([waiting(2, late, Slo(ttft=1.0)), broken], now=late) == [1, 2]
