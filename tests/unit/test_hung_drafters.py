"""A drafter that does not answer costs patience once, and nobody's place."""

import asyncio
import time
from collections.abc import Sequence as Tokens

from cospec.speculation.request import Method, SpeculationMode
from cospec.speculation.types import DraftResult, DraftRow
from scripted import ScriptedDrafter, ScriptedVerifier
from scripted_rounds import OFF, counting, decode, expected, make_loop, make_request, often_right, output

PATIENCE = 0.05


class Hung(ScriptedDrafter):
    """From its second call on, until it is woken; to release a session hangs as well."""

    def __init__(self) -> None:
        super().__init__(often_right)
        self.awake = asyncio.Event()

    async def draft(self, rows: Tokens[DraftRow]) -> list[DraftResult]:
        if self.num_calls:
            await self.awake.wait()
        return await super().draft(rows)

    async def release(self, session_ids: Tokens[int]) -> None:
        await self.awake.wait()
        await super().release(session_ids)


def test_it_keeps_no_slot_of_the_verifier_and_is_told_of_ended_sessions_when_it_is_back() -> None:
    async def scenario() -> None:
        hung, verifier = Hung(), ScriptedVerifier(counting, num_slots=2)
        loop = make_loop(verifier, {"a": hung}, patience=PATIENCE)
        serving = asyncio.create_task(loop.run())
        drafting = [loop.submit(number, make_request(mode=_fixed(4)), decode) for number in range(2)]
        plain = loop.submit(2, make_request(mode=OFF), decode)
        for sequence in (*drafting, plain):
            await asyncio.wait_for(_end_of(sequence), 5)
            assert output(sequence) == expected((1, 2, 3), 20)
        assert hung.sessions
        hung.awake.set()
        await asyncio.wait_for(loop.drain(), 5)
        assert not hung.sessions and not verifier.sessions
        serving.cancel()

    asyncio.run(scenario())


def test_in_lockstep_it_is_waited_for_once_and_not_at_every_depth() -> None:
    async def scenario() -> float:
        hung = Hung()
        loop = make_loop(ScriptedVerifier(counting), {"a": hung, "b": ScriptedDrafter(counting)}, patience=PATIENCE)
        serving = asyncio.create_task(loop.run())
        started = time.monotonic()
        sequence = loop.submit(0, make_request(max_tokens=30, mode=SpeculationMode(Method.LOCKSTEP, None, 12)), decode)
        await asyncio.wait_for(_end_of(sequence), 10)
        seconds = time.monotonic() - started
        assert output(sequence) == expected((1, 2, 3), 30)
        hung.awake.set()
        await asyncio.wait_for(loop.drain(), 5)
        serving.cancel()
        return seconds

    assert asyncio.run(scenario()) < 4 * PATIENCE


def _fixed(length: int) -> SpeculationMode:
    return SpeculationMode(Method.FIXED, "a", length)


async def _end_of(sequence) -> None:  # type: ignore[no-untyped-def]
    while not sequence.done:
        await sequence.progress.wait()
        sequence.progress.clear()
