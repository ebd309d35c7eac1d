"""Several verifiers as one: a session lives on one of them, and moves to another when that one is lost.

What a verifier knows of a session is in the session's tokens: whoever takes it over reads them anew.
"""

import asyncio
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Rows
from dataclasses import dataclass

from cospec.speculation.sequence import CalleeError
from cospec.speculation.types import Status, Verifier, VerifyResult, VerifyRow

REST_SECONDS = 1.0  # in which a verifier that failed gets nothing, where another is up
# After so many seconds, and times the longest call lately, a verifier is lost. Triton takes one to two to say so.
PATIENCE = 1.0, 4.0
LONGEST = 2.0  # seconds, before anything is known
MEMORY = 0.95  # of the longest call, a call later

NO_SLOT = VerifyResult(Status.NO_SLOT, 0)
MOVED = VerifyResult(Status.UNKNOWN_STATE, 0)


@dataclass
class Home:
    """Of a session."""

    verifier: str
    length: int = 0  # tokens that are held there


class VerifierPool:
    """A `Verifier` made of several. All rows of a call are checked at the same time, each where its session lives."""

    def __init__(
        self,
        verifiers: Mapping[str, Verifier],
        num_slots: int,
        clock: Callable[[], float],
        log_warning: Callable[[str], None],
    ) -> None:
        """`num_slots`: sessions that each of them holds."""
        self._verifiers = verifiers
        self._num_slots = num_slots
        self._clock = clock
        self._log_warning = log_warning
        self._homes: dict[int, Home] = {}
        self._resting_until: dict[str, float] = {}
        self._longest = LONGEST

    def is_up(self, name: str) -> bool:
        return self._clock() >= self._resting_until.get(name, 0.0)

    async def verify(self, rows: Rows[VerifyRow]) -> list[VerifyResult]:
        """Raises `CalleeError` where none of the verifiers is left."""
        results = [NO_SLOT] * len(rows)
        shares = self._shares(rows)
        answers = await asyncio.gather(
            *(self._ask(name, [rows[place] for place in places]) for name, places in shares.items())
        )
        for places, answer in zip(shares.values(), answers, strict=True):
            for place, result in zip(places, answer, strict=True):
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
        candidates = [name for name in self._verifiers if self.is_up(name)] or list(self._verifiers)
        name = min(candidates, key=lambda name: (sessions[name], tokens[name]))
        if sessions[name] >= self._num_slots:
            return None
        self._homes[session_id] = Home(name)
        return self._homes[session_id]

    async def _ask(self, name: str, rows: Rows[VerifyRow]) -> list[VerifyResult]:
        asked = self._clock()
        try:
            answer = await self._in_time(name, asyncio.ensure_future(self._verifiers[name].verify(rows)))
            self._longest = max(MEMORY * self._longest, self._clock() - asked)
            return answer
        except CalleeError as error:
            self._lose(name)
            if not any(map(self.is_up, self._verifiers)):
                raise
            self._log_warning(f"{name} is lost, {len(rows)} requests move to another verifier: {error}")
            return [MOVED] * len(rows)

    async def _in_time(self, name: str, call: "asyncio.Future[list[VerifyResult]]") -> list[VerifyResult]:
        """Or else a `CalleeError`, where another verifier can go on."""
        if not any(self.is_up(other) for other in self._verifiers if other != name):
            return await call
        least, times = PATIENCE
        patience = max(least, times * self._longest)
        done, _ = await asyncio.wait([call], timeout=patience)
        if not done:
            call.add_done_callback(lambda late: late.cancelled() or late.exception())  # nobody waits for it any more
            raise CalleeError(f"{name} has not answered within {patience:.1f} s")
        return call.result()

    def _lose(self, name: str) -> None:
        self._resting_until[name] = self._clock() + REST_SECONDS
        self._homes = {session: home for session, home in self._homes.items() if home.verifier != name}

    def _remember(self, session_id: int, result: VerifyResult) -> None:
        if result.status is Status.NO_SLOT:  # another may have one
            self._homes.pop(session_id, None)
        elif session_id in self._homes:
            self._homes[session_id].length = result.committed_length
