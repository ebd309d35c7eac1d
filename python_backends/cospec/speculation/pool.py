"""The request pool: every live sequence between two rounds (CoSine's request pool)."""

import asyncio
from collections import deque

from cospec.speculation.sequence import Sequence


class RequestPool:
    """First come, first served; at most `max_active` sequences hold sessions at a time, the rest wait."""

    def __init__(self, max_requests: int, max_active: int) -> None:
        self._max_requests = max_requests
        self._max_active = max_active
        self._waiting: deque[Sequence] = deque()
        self._ready: deque[Sequence] = deque()
        self._num_active = 0
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return self._num_active + len(self._waiting)

    @property
    def num_active(self) -> int:
        """Sequences that hold sessions."""
        return self._num_active

    @property
    def is_full(self) -> bool:
        return len(self) >= self._max_requests

    def add(self, sequence: Sequence) -> None:
        self._waiting.append(sequence)
        self._news.set()

    def put_back(self, sequence: Sequence) -> None:
        """An active sequence, ready for its next round."""
        self._ready.append(sequence)
        self._news.set()

    def retire(self) -> None:
        """An active sequence has ended."""
        self._num_active -= 1
        self._news.set()

    async def take_group(self, max_size: int) -> list[Sequence]:
        """Wait for work, then take up to `max_size` sequences."""
        while not (group := self._take(max_size)):
            self._news.clear()
            await self._news.wait()
        return group

    def _take(self, max_size: int) -> list[Sequence]:
        while self._waiting and self._num_active < self._max_active:
            self._ready.append(self._waiting.popleft())
            self._num_active += 1
        return [self._ready.popleft() for _ in range(min(max_size, len(self._ready)))]
