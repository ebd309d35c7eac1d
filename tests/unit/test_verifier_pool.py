"""Several verifiers behind one round loop: where sessions live, and what happens when one is lost."""

import asyncio
import itertools
import time
from collections.abc import Sequence as Tokens
from functools import partial

import numpy as np
import pytest
from cospec.config import Settings
from cospec.engine.placement import gpu_of
from cospec.speculation import verifier_pool
from cospec.speculation.resting import REST_SECONDS
from cospec.speculation.sequence import CalleeError
from cospec.speculation.types import DraftTree, SamplingParameters, Status, VerifyResult, VerifyRow
from cospec.speculation.verifier_pool import VerifierPool
from scripted import ScriptedDrafter, ScriptedVerifier
from scripted_rounds import counting, expected, generate, make_loop, make_request, often_right, output


class Mortal(ScriptedVerifier):
    """Fails from its `dies_at`th call to its `lives_at`th, and has then forgotten everything."""

    def __init__(self, dies_at: int = 1_000_000, lives_at: int = 1_000_000, num_slots: int = 64) -> None:
        super().__init__(counting, num_slots)
        self.calls, self._dies_at, self._lives_at = 0, dies_at, lives_at

    async def verify(self, rows: Tokens[VerifyRow]) -> list[VerifyResult]:
        self.calls += 1
        if self._dies_at <= self.calls < self._lives_at:
            self.sessions.clear()
            raise CalleeError("verifier failed: killed")
        return await super().verify(rows)


def pool_of(*verifiers: ScriptedVerifier, slots: int = 64, warnings: list[str] | None = None) -> VerifierPool:
    clock = partial(next, itertools.count(step=1e-3))
    named = {f"verifier_{number}": verifier for number, verifier in enumerate(verifiers, 1)}
    return VerifierPool(named, slots, clock, ([] if warnings is None else warnings).append)


def prompt_row(session: int, length: int = 3) -> VerifyRow:
    return VerifyRow(session, 0, np.arange(length, dtype=np.int32), DraftTree(), SamplingParameters())


def test_new_sessions_go_where_most_slots_are_free_and_stay_there() -> None:
    verifiers = [ScriptedVerifier(counting) for _ in range(3)]
    loop = make_loop(pool_of(*verifiers), {"a": ScriptedDrafter(often_right)})
    sequences = generate(loop, *(make_request((n, n + 1)) for n in range(30)))
    assert all(output(sequence) == expected(sequence.request.prompt, 20) for sequence in sequences)
    assert {max(verifier.group_sizes) for verifier in verifiers} == {10}
    assert not any(verifier.sessions for verifier in verifiers)


def test_of_verifiers_with_as_many_free_slots_the_one_with_fewer_tokens_is_next() -> None:
    verifiers = [ScriptedVerifier(counting), ScriptedVerifier(counting)]
    pool = pool_of(*verifiers)
    asyncio.run(pool.verify([prompt_row(1, length=50), prompt_row(2, length=5)]))
    asyncio.run(pool.verify([prompt_row(3)]))
    assert [sorted(verifier.sessions) for verifier in verifiers] == [[1], [2, 3]]


def test_the_requests_of_a_lost_verifier_go_on_with_another_and_say_the_same() -> None:
    lost, left, warnings = Mortal(dies_at=3), Mortal(), list[str]()
    loop = make_loop(pool_of(lost, left, warnings=warnings), {"a": ScriptedDrafter(often_right)})
    sequences = generate(loop, *(make_request((n, n + 1)) for n in range(8)))
    assert all(output(sequence) == expected(sequence.request.prompt, 20) for sequence in sequences)
    assert max(left.group_sizes) == 8 and "verifier_1 is lost, 4 requests move" in warnings[0]


def test_a_verifier_that_does_not_answer_is_lost_where_another_can_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging(ScriptedVerifier):
        async def verify(self, rows: Tokens[VerifyRow]) -> list[VerifyResult]:
            if len(self.group_sizes) == 3:
                await asyncio.sleep(3600)
            return await super().verify(rows)

    monkeypatch.setattr(verifier_pool, "PATIENCE", 0.05)
    monkeypatch.setattr(verifier_pool, "SLACK", 0.0)
    hanging, left, warnings = Hanging(counting), ScriptedVerifier(counting), list[str]()
    loop = make_loop(pool_of(hanging, left, warnings=warnings), {"a": ScriptedDrafter(often_right)})
    sequences = generate(loop, *(make_request((n, n + 1)) for n in range(4)))
    assert all(output(sequence) == expected(sequence.request.prompt, 20) for sequence in sequences)
    assert max(left.group_sizes) == 4 and "has not answered within" in warnings[0]


def test_a_verifier_that_is_back_gets_new_sessions_and_its_failure_is_counted() -> None:
    back, other, failed = Mortal(dies_at=1, lives_at=2), Mortal(), list[str]()
    now = 0.0
    pool = VerifierPool({"back": back, "other": other}, 64, lambda: now, print, failed.append)
    [moved] = asyncio.run(pool.verify([prompt_row(1)]))
    assert moved.status is Status.UNKNOWN_STATE and failed == ["back"]
    assert asyncio.run(pool.verify([prompt_row(1)]))[0].status is Status.OK and set(other.sessions) == {1}
    now = REST_SECONDS
    asyncio.run(pool.verify([prompt_row(2)]))
    assert set(back.sessions) == {2}


def test_a_call_that_reads_much_may_take_long() -> None:
    class Slow(ScriptedVerifier):
        async def verify(self, rows: Tokens[VerifyRow]) -> list[VerifyResult]:
            await asyncio.sleep(3e-4 * sum(len(row.context) for row in rows))
            return await super().verify(rows)

    async def many_short_calls_then_a_long_one() -> Status:
        for session in range(1, 120):
            await pool.verify([prompt_row(session)])
            await pool.release([session])
        [result] = await pool.verify([prompt_row(200, length=5000)])
        return result.status

    pool = VerifierPool({"a": Slow(counting), "b": Slow(counting)}, 64, time.monotonic, print)
    assert asyncio.run(many_short_calls_then_a_long_one()) is Status.OK


def test_where_all_are_lost_requests_wait_as_for_a_single_one() -> None:
    loop = make_loop(pool_of(Mortal(2, 5), Mortal(2, 5)), {"a": ScriptedDrafter(often_right)})
    sequences = generate(loop, *(make_request((n,)) for n in range(4)))
    assert all(output(sequence) == expected(sequence.request.prompt, 20) for sequence in sequences)
    gone = make_loop(pool_of(Mortal(1), Mortal(1)), {"a": ScriptedDrafter(counting)}, verifier_retry_seconds=0)
    [sequence] = generate(gone, make_request())
    assert "verifier failed" in str(sequence.error)


def test_sessions_that_no_verifier_has_a_slot_for_wait() -> None:
    verifiers = [ScriptedVerifier(counting, num_slots=2), ScriptedVerifier(counting, num_slots=2)]
    loop = make_loop(pool_of(*verifiers, slots=2), {"a": ScriptedDrafter(counting)})
    sequences = generate(loop, *(make_request((n,)) for n in range(9)))
    assert all(output(sequence) == expected(sequence.request.prompt, 20) for sequence in sequences)


@pytest.mark.parametrize(
    ("verifiers", "num_gpus", "places"),
    [
        (1, 1, {"verifier": 0, "drafter_chat": 0, "drafter_code": 0}),
        (1, 2, {"verifier": 0, "drafter_chat": 1, "drafter_code": 1}),
        (2, 2, {"verifier": 0, "verifier_2": 1, "drafter_chat": 0, "drafter_code": 1}),
        (2, 4, {"verifier": 0, "verifier_2": 1, "drafter_chat": 2, "drafter_code": 3}),
    ],
)
def test_verifiers_have_gpus_of_their_own_and_drafters_share_the_others(
    verifiers: int, num_gpus: int, places: dict[str, int]
) -> None:
    settings = Settings(drafters=("chat", "code"), verifiers=verifiers)
    assert {model: gpu_of(model, settings, num_gpus) for model in places} == places


def test_a_verifier_that_keeps_sessions_it_was_lost_with_gets_no_new_ones_for_a_while() -> None:
    ghostly, other = ScriptedVerifier(counting, num_slots=2), ScriptedVerifier(counting, num_slots=2)
    ghostly.sessions = {100: [1], 101: [1]}  # of which nobody knows any more
    pool = pool_of(ghostly, other, slots=2)
    [first] = asyncio.run(pool.verify([prompt_row(1)]))
    [second] = asyncio.run(pool.verify([prompt_row(1)]))
    assert (first.status, second.status) == (Status.NO_SLOT, Status.OK)
    assert 1 in other.sessions
