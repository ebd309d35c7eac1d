"""The request pool: every live sequence between two rounds (CoSine's request pool)."""

import asyncio
from collections.abc import Callable
from collections.abc import Sequence as Rows

from cospec.speculation.admission import Admission, AtOnce
from cospec.speculation.sequence import Sequence

Choose = Callable[[Rows[Sequence]], list[int]]  # ready sequences, the longest waiting first -> which to take


PATIENCE = 30.0  # seconds


class RequestPool:
    """At most `max_active` sequences hold sessions at a time; of the rest, the one goes on that is due the soonest."""

    def __init__(
        self,
        max_requests: int,
        max_active: int,
        clock: Callable[[], float],
        admission: Admission | None = None,
        has_room: Callable[[Rows[Sequence], Sequence], bool] = lambda ready, candidate: True,
        lead: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`clock`: seconds; `admission`: at once, unless another policy is given; `has_room`: whether one that
        waits can join those that are ready without a promise being broken; `lead`: seconds from a session to the first
        token."""
        self._clock = clock
        self._admission = admission or AtOnce()
        self._has_room = has_room
        self._lead = lead
        self._max_requests = max_requests
        self._max_active = max_active
        self._waiting: list[Sequence] = []
        self._ready: list[Sequence] = []
        self._num_active = 0
        self.waited = True  # whether the latest group had to be waited for
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return self._num_active + len(self._waiting)

    @property
    def num_active(self) -> int:
        """Sequences that hold sessions."""
        return self._num_active

    @property
    def num_waiting(self) -> int:
        """Sequences that wait for a session."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        return len(self) >= self._max_requests

    def add(self, sequence: Sequence) -> None:
        self._waiting.append(sequence)
        self._admission.arrived(self._clock())
        self._news.set()

    def put_back(self, sequence: Sequence) -> None:
        """An active sequence, ready for its next round."""
        self._ready.append(sequence)
        self._news.set()

    def drop(self, sequence: Sequence) -> bool:
        """Whether it was waiting for a session, and now is not."""
        try:
            self._waiting.remove(sequence)
        except ValueError:
            return False
        return True

    def retire(self) -> None:
        """An active sequence has ended."""
        self._num_active -= 1
        self._news.set()

    async def take_group(self, choose: Choose) -> list[Sequence]:
        """Wait for work, then take what `choose` picks from the ready ones."""
        self.waited = False
        while not self._admit():
            self.waited = True
            self._news.clear()
            await self._news.wait()
        chosen = set(choose(self._ready))
        group = [sequence for index, sequence in enumerate(self._ready) if index in chosen]
        self._ready = [sequence for index, sequence in enumerate(self._ready) if index not in chosen]
        return group

    def take_all(self) -> list[Sequence]:
        """Every sequence between two rounds, those too that wait for a session; all count as active."""
        taken = [*self._ready, *self._waiting]
        self._num_active += len(self._waiting)
        self._ready, self._waiting = [], []
        return taken

    def _admit(self) -> bool:
        """Whether anything is ready. Who finds no room holds up all behind it; to whom nothing was promised, only its
        like."""
        released, only_promised = self._releases(), False
        for candidate in sorted(self._waiting, key=self._due) if released else ():
            promised = candidate.request.slo.promises
            if self._num_active >= self._max_active:
                break
            if only_promised and not promised:
                continue
            if self._may_join(candidate):
                self._join(candidate)
            elif promised:
                break
            else:
                only_promised = True
        return bool(self._ready)

    def _join(self, candidate: Sequence) -> None:
        self._waiting.remove(candidate)
        self._ready.append(candidate)
        self._num_active += 1

    def _may_join(self, candidate: Sequence) -> bool:
        patient = self._clock() - candidate.submitted_at < PATIENCE
        return not self._num_active or not patient or self._has_room(self._ready, candidate)

    def _releases(self) -> bool:
        if not self._waiting:
            return False
        now = self._clock()
        held = now - min(sequence.submitted_at for sequence in self._waiting)
        due = min(sequence.submitted_at + sequence.request.slo.ttft for sequence in self._waiting) - now
        return self._admission.releases(len(self._waiting), self._num_active, now, held, due)

    def _due(self, sequence: Sequence) -> float:
        """When its first token should come. Too late for its promise, it lets those go first whose can still be kept,
        but not for ever; with none, it is as patient as that."""
        due = sequence.submitted_at + min(sequence.request.slo.ttft, PATIENCE)
        return due if self._clock() + self._lead() <= due else due + PATIENCE
