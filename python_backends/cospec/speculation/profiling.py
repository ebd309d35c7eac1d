"""A look at what verifier and drafters cost here, before there are requests: a few calls of each size, timed.
The best of each counts: what else the machine does is not the calls' cost.

Everything is asked through the same protocols as later, so that the way there is in the figures.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Protocol

import numpy as np

from cospec.speculation.cost_model import CostModel, DraftWork, Learnt, VerifyWork
from cospec.speculation.types import (
    Drafter,
    DraftRow,
    DraftTree,
    SamplingParameters,
    Status,
    TokenArray,
    Verifier,
    VerifyResult,
    VerifyRow,
)

ROWS = (1, 4, 16, 64)
NODES = (0, 1, 3, 7, 15, 31)  # of each row
CONTEXTS = (32, 400)
DEPTHS = (1, 4, 12)
MOST_TOKENS = 512  # in one call
MOST_CONTEXT = 4096  # tokens of all rows together
REPEATS = 5
PLAIN_STEPS = 4
KEPT_EVERY = 5.0  # seconds
FIRST_SESSION = 1  # an orchestrator's own start far above
GREEDY = SamplingParameters()


@dataclass(frozen=True)
class Profile:
    """Work, and the seconds that it took."""

    verify: tuple[tuple[VerifyWork, float], ...] = ()
    draft: tuple[tuple[DraftWork, float], ...] = ()


class Profiles(Protocol):
    """Where they are kept."""

    def load(self) -> Profile | None: ...

    def save(self, profile: Profile) -> None: ...

    def save_learnt(self, learnt: Learnt) -> None: ...


async def keep_learnt(costs: CostModel, profiles: Profiles, log_warning: Callable[[str], None]) -> None:
    """What costs are while serving, every so often, for as long as they can be kept: beside others a call takes longer
    than the best of a few alone."""
    kept: Learnt = costs.learnt()
    while True:
        await asyncio.sleep(KEPT_EVERY)
        if (learnt := costs.learnt()) == kept:
            continue
        try:
            profiles.save_learnt(learnt)
        except Exception as error:  # whatever it is, requests go on
            log_warning(f"costs that are learnt while serving are not kept: {error!r}")
            return
        kept = learnt


class Profiler:
    def __init__(
        self, verifier: Verifier, drafters: Mapping[str, Drafter], clock: Callable[[], float], most_rows: int, room: int
    ) -> None:
        """`most_rows`: of one call; `room`: tokens that a session holds."""
        self._verifier = verifier
        self._drafters = drafters
        self._clock = clock
        self._rows = [rows for rows in ROWS if rows <= most_rows]
        self._room = room

    async def kept_or_new(self, profiles: Profiles, log_warning: Callable[[str], None]) -> Profile | None:
        """None where there is neither: requests wait for this, and can be served without it."""
        try:
            return profiles.load() or await self._new(profiles, log_warning)
        except Exception as error:
            log_warning(f"costs could not be measured, and are learnt on the way: {error!r}")
            return None

    async def _new(self, profiles: Profiles, log_warning: Callable[[str], None]) -> Profile:
        profile = await self.profile()
        try:
            profiles.save(profile)
        except OSError as error:
            log_warning(f"costs are measured anew at the next start, since they cannot be kept: {error}")
        return profile

    async def profile(self) -> Profile:
        """Raises `CalleeError`."""
        await self._wake()
        verify, draft = await self._profile_verifier(), await self._profile_drafters()
        return Profile(tuple(verify), tuple(draft))

    async def _wake(self) -> None:
        """The first call of all takes longer than any later one."""
        group = _Group(1, CONTEXTS[0])
        try:
            await self._timed_verify(group, DraftTree(), 1)
        finally:
            await self._verifier.release(list(group.sessions))

    async def _profile_verifier(self) -> list[tuple[VerifyWork, float]]:
        measured = []
        for rows in self._rows:
            for context in CONTEXTS:
                if rows * context <= MOST_CONTEXT and 2 * context <= self._room:
                    measured += await self._profile_rows(rows, context)
        return measured

    async def _profile_rows(self, rows: int, context: int) -> list[tuple[VerifyWork, float]]:
        """Prefill, then every number of nodes, then plain decoding."""
        group = _Group(rows, context)
        sessions = list(group.sessions)
        try:
            measured = [await self._timed_verify(group, DraftTree(), 1)]
            for nodes in NODES:
                if rows * (nodes + 1) <= MOST_TOKENS:
                    measured.append(await self._best_of(group, DraftTree.chain(_noise(nodes)), 1))
            measured.append(await self._best_of(group, DraftTree(), PLAIN_STEPS))
        finally:
            await self._verifier.release(sessions)
        return measured

    async def _best_of(self, group: "_Group", tree: DraftTree, steps: int) -> tuple[VerifyWork, float]:
        timed = [await self._timed_verify(group, tree, steps) for _ in range(REPEATS)]
        return timed[-1][0], min(seconds for _, seconds in timed)

    async def _timed_verify(self, group: "_Group", tree: DraftTree, steps: int) -> tuple[VerifyWork, float]:
        rows = group.verify_rows(tree, steps)
        tokens = sum(len(row.context) + len(tree) for row in rows)
        work = VerifyWork(len(rows), tokens, max(row.committed_length + len(row.context) for row in rows), steps)
        started = self._clock()
        results = await self._verifier.verify(rows)
        seconds = self._clock() - started
        group.take(results)
        return work, seconds

    async def _profile_drafters(self) -> list[tuple[DraftWork, float]]:
        names = list(self._drafters)
        measured = []
        for number in sorted({min(1, len(names)), len(names)} - {0}):
            for rows in self._rows:
                for depth in DEPTHS:
                    measured.append(await self._best_draft(names[:number], rows, depth))
        return measured

    async def _best_draft(self, names: Sequence[str], rows: int, depth: int) -> tuple[DraftWork, float]:
        """Every drafter continues `rows` contexts of one more token, as it does in a round."""
        sessions = range(FIRST_SESSION, FIRST_SESSION + rows)
        read = [DraftRow(session, 0, _context(CONTEXTS[0]), 0, GREEDY) for session in sessions]
        asked = [
            replace(row, committed_length=CONTEXTS[0], context=_context(1), num_draft_tokens=depth) for row in read
        ]
        try:
            await self._ask(names, read)
            timed = [await self._timed(self._ask(names, asked)) for _ in range(REPEATS + 1)]
        finally:
            await asyncio.gather(*(self._drafters[name].release(list(sessions)) for name in names))
        together = rows * len(names)
        return DraftWork(len(names), together, depth, together * depth), min(timed[1:])

    async def _ask(self, names: Sequence[str], rows: Sequence[DraftRow]) -> None:
        await asyncio.gather(*(self._drafters[name].draft(rows) for name in names))

    async def _timed(self, work: Awaitable[None]) -> float:
        started = self._clock()
        await work
        return self._clock() - started


class _Group:
    """Sessions of the verifier that go on from call to call."""

    def __init__(self, rows: int, context: int) -> None:
        self.sessions = range(FIRST_SESSION, FIRST_SESSION + rows)
        self._committed = dict.fromkeys(self.sessions, 0)
        self._unread = dict.fromkeys(self.sessions, _context(context))

    def verify_rows(self, tree: DraftTree, steps: int) -> list[VerifyRow]:
        return [
            VerifyRow(session, self._committed[session], self._unread[session], tree, GREEDY, steps)
            for session in self.sessions
        ]

    def take(self, results: Sequence[VerifyResult]) -> None:
        for session, result in zip(self.sessions, results, strict=True):
            if result.status is Status.OK:
                self._committed[session] = result.committed_length
                self._unread[session] = np.asarray(result.tokens[-1:], dtype=np.int32)


def _context(length: int) -> TokenArray:
    return np.asarray(_noise(length), dtype=np.int32)


def _noise(length: int) -> list[int]:
    """Tokens of no meaning, of which hardly any is accepted."""
    numbers = count()
    return [1 + next(numbers) * 7 % 97 for _ in range(length)]
