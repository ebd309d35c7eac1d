"""An event loop whose clock jumps to whatever happens next: hours of waiting take no time."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class Stalled(RuntimeError):
    """Nothing is left that could ever happen, and the work is not done."""


class _Instant(selectors.SelectSelector):
    """Waits for nothing; tells how long it was to."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise Stalled("nothing is left to happen")
        self.now += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._instant = _Instant()
        super().__init__(self._instant)

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._instant.now


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Like `asyncio.run`, in virtual time. Raises `Stalled`."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(work)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        loop.close()
