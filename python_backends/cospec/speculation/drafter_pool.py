"""All drafters by name, and which of them can be asked.

A drafter that fails, or answers late, costs speed, never an answer: its tokens are left out, the requests go on, and it
is asked again when it is back.
"""

import asyncio
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Rows
from functools import partial

from cospec.speculation.observer import Observer, Unobserved
from cospec.speculation.resting import REST_SECONDS, Resting
from cospec.speculation.sequence import CalleeError, Sequence
from cospec.speculation.types import Drafter, DraftResult, DraftRow

MEMORY = 0.9  # of the average round trip, from one call to the next


class DrafterPool:
    def __init__(
        self,
        drafters: Mapping[str, Drafter],
        patience: float,
        clock: Callable[[], float],
        log_warning: Callable[[str], None],
        observer: Observer | None = None,
    ) -> None:
        """`patience`: seconds after which an answer is late."""
        self._drafters = drafters
        self._patience = patience
        self._clock = clock
        self._log_warning = log_warning
        self._observer = observer or Unobserved()
        self.round_trips: dict[str, float] = {}  # drafter -> recent seconds of a call, transport included
        self._resting = Resting(clock)
        self._late: dict[str, set[asyncio.Future[list[DraftResult]]]] = {}  # calls that are not waited for any more

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._drafters)

    def available(self) -> list[str]:
        return [name for name in self._drafters if name not in self._late and name not in self._resting]

    async def ask(self, rows: Mapping[str, Rows[DraftRow]]) -> dict[str, list[DraftResult]]:
        """All drafters named, at once; those that fail, are late or cannot be asked do not stand in the answer."""
        calls = {name: self._call(name, rows[name]) for name in self.available() if name in rows}
        if calls:
            await asyncio.wait(calls.values(), timeout=self._patience)
        answers = {name: self._answer(name, call) for name, call in calls.items()}
        return {name: answer for name, answer in answers.items() if answer is not None}

    async def release(self, sequences: Rows[Sequence]) -> None:
        """Free every drafter's sessions of these sequences. A drafter that is late hears of it when it has answered:
        each call until then would keep a thread waiting; one that cannot be asked frees them by lease."""
        await asyncio.gather(*(self._release_from(name, sequences) for name in self._drafters))

    def _call(self, name: str, rows: Rows[DraftRow]) -> "asyncio.Future[list[DraftResult]]":
        call = asyncio.ensure_future(self._drafters[name].draft(rows))
        call.add_done_callback(partial(self._measure, name, rows, self._clock()))
        return call

    def _measure(
        self, name: str, rows: Rows[DraftRow], asked: float, call: "asyncio.Future[list[DraftResult]]"
    ) -> None:
        if not call.cancelled() and call.exception() is None:
            now = self._clock()
            seconds = now - asked
            self.round_trips[name] = _averaged(self.round_trips.get(name, seconds), seconds)
            self._observer.answered(name, rows, asked, now)

    def _answer(self, name: str, call: "asyncio.Future[list[DraftResult]]") -> list[DraftResult] | None:
        if not call.done():
            self._late.setdefault(name, set()).add(call)
            call.add_done_callback(partial(self._hear_late, name))
            self._observer.failed(name)
            self._log_warning(f"drafter {name} has not answered within {self._patience} s: going on without it")
            return None
        try:
            return call.result()
        except (CalleeError, asyncio.CancelledError) as error:  # nobody here cancels: its transport has
            self._resting.add(name)
            self._observer.failed(name)
            self._log_warning(f"drafter {name} rests for {REST_SECONDS} s: {error or 'its call was cancelled'}")
            return None

    def _hear_late(self, name: str, call: "asyncio.Future[list[DraftResult]]") -> None:
        """Too late to be used; but a failure makes it rest."""
        self._late[name].discard(call)
        if not self._late[name]:
            del self._late[name]
        if not call.cancelled():
            self._answer(name, call)

    async def _release_from(self, name: str, sequences: Rows[Sequence]) -> None:
        held = [sequence for sequence in sequences if name in sequence.drafter_lengths]
        for sequence in held:
            del sequence.drafter_lengths[name]
        if late := self._late.get(name):
            await asyncio.wait(set(late))
        if held:
            try:
                await self._drafters[name].release([sequence.session_id for sequence in held])
            except CalleeError as error:
                self._log_warning(f"drafter {name} keeps {len(held)} sessions until their lease ends: {error}")


def _averaged(average: float, latest: float) -> float:
    return MEMORY * average + (1 - MEMORY) * latest
