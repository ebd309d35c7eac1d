"""Who wants to know what the round loop does. Called in the loop's own thread: must be quick, and must not raise."""

from collections.abc import Sequence as Rows
from typing import Protocol

from cospec.speculation.planning import Plan
from cospec.speculation.sequence import Draft, Sequence
from cospec.speculation.types import DraftRow, VerifyResult

# Of a round: when routing began, when drafting began, when verification began, when it ended.
Moments = tuple[float, float, float, float]


class Observer(Protocol):
    """Times are seconds of the loop's clock."""

    def admitted(self, sequence: Sequence) -> None: ...

    def planned(self, plans: Rows[Plan]) -> None:
        """One plan for each sequence of a round."""

    def answered(self, drafter: str, rows: Rows[DraftRow], asked: float, now: float) -> None:
        """A drafter, late or not; `asked` and `now` are the ends of its round trip."""

    def failed(self, drafter: str) -> None:
        """Or it is late, and may fail later."""

    def gained(self, sequence: Sequence, draft: Draft, result: VerifyResult, num_tokens: int, now: float) -> None:
        """`num_tokens` of `result` were taken over; `sequence.last_token_at` is still that of the gain before."""

    def round_ended(self, group: Rows[Sequence], drafts: Rows[Draft], moments: Moments) -> None:
        """One draft for each sequence of `group`."""

    def ended(self, sequence: Sequence) -> None:
        """With text or with an error; its statistics are complete."""


class Unobserved:
    """Nobody wants to know."""

    def admitted(self, sequence: Sequence) -> None:
        pass

    def planned(self, plans: Rows[Plan]) -> None:
        pass

    def answered(self, drafter: str, rows: Rows[DraftRow], asked: float, now: float) -> None:
        pass

    def failed(self, drafter: str) -> None:
        pass

    def gained(self, sequence: Sequence, draft: Draft, result: VerifyResult, num_tokens: int, now: float) -> None:
        pass

    def round_ended(self, group: Rows[Sequence], drafts: Rows[Draft], moments: Moments) -> None:
        pass

    def ended(self, sequence: Sequence) -> None:
        pass


class Several:
    """Each of them is told."""

    def __init__(self, observers: Rows[Observer]) -> None:
        self._observers = observers

    def admitted(self, sequence: Sequence) -> None:
        for observer in self._observers:
            observer.admitted(sequence)

    def planned(self, plans: Rows[Plan]) -> None:
        for observer in self._observers:
            observer.planned(plans)

    def answered(self, drafter: str, rows: Rows[DraftRow], asked: float, now: float) -> None:
        for observer in self._observers:
            observer.answered(drafter, rows, asked, now)

    def failed(self, drafter: str) -> None:
        for observer in self._observers:
            observer.failed(drafter)

    def gained(self, sequence: Sequence, draft: Draft, result: VerifyResult, num_tokens: int, now: float) -> None:
        for observer in self._observers:
            observer.gained(sequence, draft, result, num_tokens, now)

    def round_ended(self, group: Rows[Sequence], drafts: Rows[Draft], moments: Moments) -> None:
        for observer in self._observers:
            observer.round_ended(group, drafts, moments)

    def ended(self, sequence: Sequence) -> None:
        for observer in self._observers:
            observer.ended(sequence)
