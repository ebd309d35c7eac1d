"""A drafter behind gRPC: sticky sessions, failover, and answers that nobody should believe."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cospec.config import RemoteDrafterSettings
from cospec.signatures import DRAFTER
from cospec.speculation.sequence import CalleeError
from cospec.speculation.types import DraftResult, DraftRow, SamplingParameters, Status
from cospec.triton_io.remote import RemoteDrafter
from cospec.triton_io.replica import Replica
from drafter_server import DrafterServer
from scripted import ScriptedDrafter
from scripted_rounds import counting

DEADLINE = 0.3


def row(session: int, held: int = 0, context: tuple[int, ...] = (1, 2, 3), depth: int = 3) -> DraftRow:
    return DraftRow(session, held, np.asarray(context, dtype=np.int32), depth, SamplingParameters())


def run(
    scenario: Callable[[RemoteDrafter, list[DrafterServer]], Awaitable[None]],
    num_replicas: int = 2,
    warnings: list[str] | None = None,
) -> None:
    """Against as many servers as replicas, in one event loop, as in the orchestrator's process."""

    async def body() -> None:
        servers = [DrafterServer(ScriptedDrafter(counting)) for _ in range(num_replicas)]
        for server in servers:
            await server.start()
        settings = RemoteDrafterSettings(tuple(server.url for server in servers), deadline_seconds=DEADLINE)
        log = [].append if warnings is None else warnings.append
        remote = RemoteDrafter(
            "code", [Replica(url, "drafter_code", DRAFTER, settings, log) for url in settings.urls], 128
        )
        try:
            await scenario(remote, servers)
        finally:
            await remote.close()
            for server in servers:
                await server.stop()

    asyncio.run(asyncio.wait_for(body(), 30))


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def statuses(results: list[DraftResult]) -> list[Status]:
    return [result.status for result in results]


def test_answers_are_those_of_the_drafter_in_the_order_of_rows() -> None:
    async def scenario(remote: RemoteDrafter, servers: list[DrafterServer]) -> None:
        rows = [row(session, context=(session, session + 1)) for session in range(1, 6)]
        assert await remote.draft(rows) == await ScriptedDrafter(counting).draft(rows)
        assert sorted(server.rows[0] for server in servers) == [2, 3], "not spread over the replicas"

    run(scenario)


def test_a_session_stays_with_its_replica_until_it_is_released() -> None:
    async def scenario(remote: RemoteDrafter, servers: list[DrafterServer]) -> None:
        await remote.draft([row(1), row(2)])
        held = [set(server.drafter.sessions) for server in servers]
        for _ in range(3):
            assert statuses(await remote.draft([row(1, 3, (5,)), row(2, 3, (5,))])) == [Status.OK] * 2
        assert [set(server.drafter.sessions) for server in servers] == held
        await remote.release([1, 2])
        assert sorted(servers[0].released + servers[1].released) == [1, 2]

    run(scenario)


def test_a_lost_replica_costs_its_sessions_a_draft_and_no_more() -> None:
    async def scenario(remote: RemoteDrafter, servers: list[DrafterServer]) -> None:
        await remote.draft([row(1), row(2)])
        await servers[0].stop()
        results = await remote.draft([row(1, 3, (5,)), row(2, 3, (5,))])
        assert sorted(statuses(results)) == [Status.OK, Status.UNKNOWN_STATE]
        assert remote.num_replicas_up == 1
        moved = 1 + statuses(results).index(Status.UNKNOWN_STATE)
        assert statuses(await remote.draft([row(moved)])) == [Status.OK]
        assert set(servers[1].drafter.sessions) == {1, 2}
        await servers[0].start()

    run(scenario)


def test_a_session_whose_replica_is_down_is_asked_for_anew_before_it_is_sent_elsewhere() -> None:
    """Else the other replica might build on what it once held of it."""

    async def scenario(remote: RemoteDrafter, servers: list[DrafterServer]) -> None:
        await remote.draft([row(1)])
        await servers[0].stop()
        await remote.draft([row(1, 3, (5,)), row(2)])
        assert statuses(await remote.draft([row(1, 3, (5,))])) == [Status.UNKNOWN_STATE]
        assert not servers[1].drafter.sessions.get(1)
        assert statuses(await remote.draft([row(1)])) == [Status.OK]
        await servers[0].start()

    run(scenario)


def test_a_replica_that_is_back_is_used_again_and_that_is_said() -> None:
    warnings: list[str] = []

    async def scenario(remote: RemoteDrafter, servers: list[DrafterServer]) -> None:
        await servers[0].stop()
        with pytest.raises(CalleeError, match="drafter_code at 127"):
            await remote.draft([row(1)])
        with pytest.raises(CalleeError, match="drafter code: none of its 1 replicas can be reached"):
            await remote.draft([row(1)])
        await servers[0].start()
        await until(lambda: remote.num_replicas_up == 1)
        assert statuses(await remote.draft([row(1)])) == [Status.OK]

    run(scenario, num_replicas=1, warnings=warnings)
    assert "is left out until it answers" in warnings[0] and "answers again" in warnings[1] and len(warnings) == 2


def test_a_replica_that_hangs_costs_one_deadline_and_then_nothing() -> None:
    async def scenario(remote: RemoteDrafter, servers: list[DrafterServer]) -> None:
        await remote.draft([row(1), row(2)])
        servers[0].delay = 60.0
        started = time.monotonic()
        results = await remote.draft([row(1, 3, (5,)), row(2, 3, (5,))])
        assert DEADLINE <= time.monotonic() - started < 3 * DEADLINE
        assert sorted(statuses(results)) == [Status.OK, Status.UNKNOWN_STATE]
        started = time.monotonic()
        for session in range(10, 30):
            await remote.draft([row(session)])
        assert time.monotonic() - started < DEADLINE

    run(scenario)


def test_a_call_that_fails_ends_no_other_call_before_its_time() -> None:
    """A cancelled call would look like a cancelled round, and no round would follow."""

    async def scenario(remote: RemoteDrafter, servers: list[DrafterServer]) -> None:
        servers[0].delay = 60.0
        first = asyncio.ensure_future(remote.draft([row(1)]))
        await asyncio.sleep(DEADLINE / 2)
        second = asyncio.ensure_future(remote.draft([row(2)]))
        results = await asyncio.gather(first, second, return_exceptions=True)
        assert [type(result) for result in results] == [CalleeError, CalleeError]

    run(scenario, num_replicas=1)


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ({"tokens": np.full((1, 3), 128)}, "a token is not one of the verifier's 128"),
        ({"tokens": np.full((1, 3), -5)}, "a token is not one of the verifier's 128"),
        ({"parents": np.asarray([[-1, 1, 0]])}, "a node stands before its parent"),
        ({"parents": np.asarray([[-2, 0, 1]])}, "a node stands before its parent"),
        ({"margins": np.full((1, 3), np.nan)}, "a margin is not a number"),
        ({"margins": np.zeros((1, 2))}, "its columns differ in length"),
        ({"result": np.asarray([[9, 0, 3]])}, "9 is not a valid Status"),
        ({"result": np.asarray([[0, 0, 3]] * 2)}, "its answer makes no sense"),
    ],
)
def test_an_answer_that_makes_no_sense_is_a_failure(broken: dict[str, Any], sentence: str) -> None:
    warnings: list[str] = []

    async def scenario(remote: RemoteDrafter, servers: list[DrafterServer]) -> None:
        servers[0].broken = broken
        with pytest.raises(CalleeError, match=sentence):
            await remote.draft([row(1)])

    run(scenario, num_replicas=1, warnings=warnings)
    assert sentence in warnings[0]


def test_a_margin_is_infinite_where_there_was_no_choice_and_that_is_no_failure() -> None:
    async def scenario(remote: RemoteDrafter, servers: list[DrafterServer]) -> None:
        servers[0].broken = {"margins": np.asarray([[np.inf, 1.0, -np.inf]])}
        [result] = await remote.draft([row(1)])
        assert result.tree.margins == (np.inf, 1.0, -np.inf)

    run(scenario, num_replicas=1)


def test_a_draft_deeper_than_asked_for_is_a_failure() -> None:
    async def scenario(remote: RemoteDrafter, servers: list[DrafterServer]) -> None:
        good = await ScriptedDrafter(counting).draft([row(1, depth=5)])
        servers[0].broken = {"tokens": np.asarray([good[0].tree.tokens]), "parents": np.asarray([good[0].tree.parents])}
        servers[0].broken |= {"margins": np.zeros((1, 5)), "result": np.asarray([[0, 0, 5]])}
        with pytest.raises(CalleeError, match="5 tokens deep, 3 were asked for"):
            await remote.draft([row(1)])

    run(scenario, num_replicas=1)


def test_rows_that_only_score_keep_no_session() -> None:
    async def scenario(remote: RemoteDrafter, servers: list[DrafterServer]) -> None:
        await remote.draft([replace(row(session), num_draft_tokens=0, score_context=True) for session in (1, 2)])
        await remote.release([1, 2])
        assert not servers[0].released and not servers[1].released

    run(scenario)
