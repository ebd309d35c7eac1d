"""Who wants to know what the round loop does. Called in the loop's own thread: must be quick, and must not raise."""

from collections.abc import Sequence as Rows
from typing import Protocol

from cospec.speculation.planning import Plan
from cospec.speculation.sequence import Draft, Sequence
from cospec.speculation.types import VerifyResult


class Observer(Protocol):
    """Times are seconds of the loop's clock."""

    def admitted(self, sequence: Sequence) -> None: ...

    def planned(self, plans: Rows[Plan]) -> None:
        """One plan for each sequence of a round."""

    def answered(self, drafter: str, seconds: float) -> None:
        """A drafter, late or not, and how long it took, transport included."""

    def failed(self, drafter: str) -> None:
        """Or it is late, and may fail later."""

    def gained(self, sequence: Sequence, draft: Draft, result: VerifyResult, num_tokens: int, now: float) -> None:
        """`num_tokens` of `result` were taken over; `sequence.last_token_at` is still that of the gain before."""

    def round_ended(self, drafts: Rows[Draft], moments: tuple[float, float, float]) -> None:
        """When drafting began, when verification began, when it ended."""

    def ended(self, sequence: Sequence) -> None:
        """With text or with an error; its statistics are complete."""


class Unobserved:
    """Nobody wants to know."""

    def admitted(self, sequence: Sequence) -> None:
        pass

    def planned(self, plans: Rows[Plan]) -> None:
        pass

    def answered(self, drafter: str, seconds: float) -> None:
        pass

    def failed(self, drafter: str) -> None:
        pass

    def gained(self, sequence: Sequence, draft: Draft, result: VerifyResult, num_tokens: int, now: float) -> None:
        pass

    def round_ended(self, drafts: Rows[Draft], moments: tuple[float, float, float]) -> None:
        pass

    def ended(self, sequence: Sequence) -> None:
        pass
