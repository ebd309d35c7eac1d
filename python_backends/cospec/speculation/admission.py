"""When waiting requests get a session: at once, or some of them together.

A prompt that is read beside others' decoding makes their round longer and keeps them from several tokens a call. WAIT
(2504.11320) holds prompts back until as many have come as an iteration can be expected to bring, so that prompts are
read together; its thresholds follow from the arrival rate and the time of an iteration, in the fluid limit. Memory is
bounded either way: a session reserves all that it can grow to, draft nodes included.
"""

import math
from collections.abc import Callable
from typing import Protocol

MEMORY = 0.95  # of earlier gaps between arrivals, an arrival later
MOST_WAIT = 0.5  # seconds that a prompt is held back
SHARE = 0.25  # of the time until its first token is due


class Admission(Protocol):
    def arrived(self, now: float) -> None:
        """A request has come."""

    def releases(self, num_waiting: int, num_active: int, now: float, held: float, due: float) -> bool:
        """Whether those who wait may go on; `held`: seconds of the longest wait, `due`: seconds until the first of
        their first tokens is due, infinite where nothing is promised."""


def make_admission(policy: str, iteration: Callable[[], float]) -> Admission:
    """`policy`: as in `cospec.yaml`; `iteration`: seconds of a round, lately."""
    return Wait(iteration) if policy == "wait" else AtOnce()


class AtOnce:
    def arrived(self, now: float) -> None:
        """Nothing follows from it."""

    def releases(self, num_waiting: int, num_active: int, now: float, held: float, due: float) -> bool:
        return True


class Wait:
    def __init__(self, iteration: Callable[[], float]) -> None:
        """`iteration`: seconds of a round, lately."""
        self._iteration = iteration
        self._gaps, self._count = 0.0, 0.0
        self._latest: float | None = None

    def arrived(self, now: float) -> None:
        if self._latest is not None:
            self._gaps = MEMORY * self._gaps + now - self._latest
            self._count = MEMORY * self._count + 1
        self._latest = now

    def releases(self, num_waiting: int, num_active: int, now: float, held: float, due: float) -> bool:
        if not num_active or held >= min(MOST_WAIT, SHARE * (held + max(due, 0.0))):
            return True
        return num_waiting >= self.threshold

    @property
    def threshold(self) -> int:
        """Prompts that come in the time of a round."""
        rate = self._count / self._gaps if self._gaps else 0.0
        return max(1, math.ceil(rate * self._iteration()))
