"""Several verifiers as one: a session lives on one of them, and moves to another when that one is lost.

What a verifier knows of a session is in the session's tokens: whoever takes it over reads them anew.
"""

import asyncio
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Rows
from dataclasses import dataclass

from cospec.speculation.resting import Resting
from cospec.speculation.sequence import CalleeError
from cospec.speculation.types import Status, Verifier, VerifyResult, VerifyRow

PATIENCE = 1.0  # seconds: Triton takes one to two to say that a model has died
SLACK = 4.0  # times what calls with as many tokens have lately taken at most
FIRST_RATE = 0.1  # seconds a token, before anything is known
MEMORY = 0.95  # of the slowest rate, a call later

NO_SLOT = VerifyResult(Status.NO_SLOT, 0)
MOVED = VerifyResult(Status.UNKNOWN_STATE, 0)


@dataclass
class Home:
    """Of a session."""

    verifier: str
    length: int = 0  # tokens that are held there


@dataclass(frozen=True)
class Call:
    """Of one verifier, under way."""

    verifier: str
    num_rows: int
    num_tokens: int  # that it reads or generates
    asked: float  # when
    answer: "asyncio.Future[list[VerifyResult]]"


class VerifierPool:
    """A `Verifier` made of several. All rows of a call are checked at the same time, each where its session lives."""

    def __init__(
        self,
        verifiers: Mapping[str, Verifier],
        num_slots: int,
        clock: Callable[[], float],
        log_warning: Callable[[str], None],
        count_failure: Callable[[str], None] = lambda name: None,
    ) -> None:
        """`num_slots`: sessions that each of them holds; `count_failure` is told of every verifier that is lost."""
        self._verifiers = verifiers
        self._num_slots = num_slots
        self._clock = clock
        self._log_warning = log_warning
        self._count_failure = count_failure
        self._homes: dict[int, Home] = {}
        self._resting = Resting(clock)
        self._full = Resting(clock)  # of sessions that it was lost with, which it keeps until their lease ends
        self._slowest = FIRST_RATE  # seconds a token, lately

    async def verify(self, rows: Rows[VerifyRow]) -> list[VerifyResult]:
        """Raises `CalleeError` where none of the verifiers is left."""
        results = [NO_SLOT] * len(rows)
        shares = self._shares(rows)
        # All calls are under way before anything is awaited: what the event loop does next then costs no time.
        calls = [self._call(name, [rows[place] for place in places]) for name, places in shares.items()]
        for places, call in zip(shares.values(), calls, strict=True):
            for place, result in zip(places, await self._answer(call), strict=True):
                results[place] = result
                self._remember(rows[place].session_id, result)
        return results

    async def release(self, session_ids: Rows[int]) -> None:
        """Raises `CalleeError`."""
        held: dict[str, list[int]] = {}
        for session_id in session_ids:
            home = self._homes.pop(session_id, None)
            if home is not None:
                held.setdefault(home.verifier, []).append(session_id)
        outcomes = await asyncio.gather(
            *(self._verifiers[name].release(sessions) for name, sessions in held.items()), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def _shares(self, rows: Rows[VerifyRow]) -> dict[str, list[int]]:
        """Verifier -> places of its rows; without those that no verifier has a slot for."""
        shares: dict[str, list[int]] = {}
        for place, row in enumerate(rows):
            home = self._homes.get(row.session_id) or self._place(row.session_id)
            if home is not None:
                shares.setdefault(home.verifier, []).append(place)
        return shares

    def _place(self, session_id: int) -> Home | None:
        """Where most slots are free, and of those where the fewest tokens are held."""
        sessions, tokens = dict.fromkeys(self._verifiers, 0), dict.fromkeys(self._verifiers, 0)
        for home in self._homes.values():
            sessions[home.verifier] += 1
            tokens[home.verifier] += home.length
        up = [name for name in self._verifiers if name not in self._resting] or list(self._verifiers)
        candidates = [name for name in up if name not in self._full] or up
        name = min(candidates, key=lambda name: (sessions[name], tokens[name]))
        if sessions[name] >= self._num_slots:
            return None
        self._homes[session_id] = Home(name)
        return self._homes[session_id]

    def _call(self, name: str, rows: Rows[VerifyRow]) -> Call:
        tokens = sum(len(row.context) + len(row.tree) + row.num_tokens - 1 for row in rows)
        answer = asyncio.ensure_future(self._verifiers[name].verify(rows))
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())  # it may be given up
        return Call(name, len(rows), tokens, self._clock(), answer)

    async def _answer(self, call: Call) -> list[VerifyResult]:
        try:
            return await self._in_time(call)
        except CalleeError as error:
            self._lose(call.verifier)
            if not self._others_up(call.verifier):
                raise
            self._log_warning(f"{call.verifier} is lost, {call.num_rows} requests move to another verifier: {error}")
            return [MOVED] * call.num_rows

    async def _in_time(self, call: Call) -> list[VerifyResult]:
        """Or else a `CalleeError`, where another verifier can go on."""
        if self._others_up(call.verifier):
            patience = max(PATIENCE, SLACK * self._slowest * call.num_tokens)
            await asyncio.wait([call.answer], timeout=patience - (self._clock() - call.asked))
            if not call.answer.done():
                raise CalleeError(f"{call.verifier} has not answered within {patience:.1f} s")
        results = await call.answer
        self._slowest = max(MEMORY * self._slowest, (self._clock() - call.asked) / call.num_tokens)
        return results

    def _others_up(self, name: str) -> bool:
        return any(other != name and other not in self._resting for other in self._verifiers)

    def _lose(self, name: str) -> None:
        self._resting.add(name)
        self._count_failure(name)
        self._homes = {session: home for session, home in self._homes.items() if home.verifier != name}

    def _remember(self, session_id: int, result: VerifyResult) -> None:
        if result.status is Status.NO_SLOT:  # another may have one
            home = self._homes.pop(session_id, None)
            if home is not None:
                self._full.add(home.verifier)
        elif session_id in self._homes:
            self._homes[session_id].length = result.committed_length
