"""Callees that have failed rest for a while: to ask them at once again would cost every round a failure."""

from collections.abc import Callable

REST_SECONDS = 1.0


class Resting:
    """Those that rest now."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def add(self, name: str) -> None:
        """It has failed."""
        self._until[name] = self._clock() + REST_SECONDS

    def __contains__(self, name: str) -> bool:
        return name in self._until and self._clock() < self._until[name]
