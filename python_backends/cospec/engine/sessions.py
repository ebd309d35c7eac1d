"""Which session owns which slot of the KV cache, and how many of its entries hold."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Session:
    slot: int
    length: int  # entries written that the session may count on
    last_used: float


class SessionTable:
    """The lowest free slot first, so that live slots stay dense. A session unused for its lease may lose its slot."""

    def __init__(self, num_slots: int, lease_seconds: float, clock: Callable[[], float]) -> None:
        self._free = list(range(num_slots))
        self._sessions: dict[int, Session] = {}
        self._lease_seconds = lease_seconds
        self._clock = clock

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def num_tokens(self) -> int:
        """Entries held by all sessions; another thread may ask."""
        return sum(session.length for session in list(self._sessions.values()))

    def find(self, session_id: int) -> Session | None:
        """The session, its lease renewed."""
        session = self._sessions.get(session_id)
        if session is not None:
            session.last_used = self._clock()
        return session

    def open(self, session_id: int) -> Session | None:
        """An empty session; None when every slot is taken by one whose lease holds."""
        existing = self.find(session_id)
        if existing is not None:
            existing.length = 0
            return existing
        if not self._free:
            self._expire()
        if not self._free:
            return None
        session = Session(heapq.heappop(self._free), 0, self._clock())
        self._sessions[session_id] = session
        return session

    def release(self, session_id: int) -> None:
        """Unknown sessions are none to free."""
        session = self._sessions.pop(session_id, None)
        if session is not None:
            heapq.heappush(self._free, session.slot)

    def _expire(self) -> None:
        oldest_allowed = self._clock() - self._lease_seconds
        for session_id in [key for key, session in self._sessions.items() if session.last_used < oldest_allowed]:
            self.release(session_id)
