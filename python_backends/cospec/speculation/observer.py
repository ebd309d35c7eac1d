"""Who wants to know what the round loop does. Called in the loop's own thread: must be quick, and should not raise."""

from collections.abc import Callable
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
    """Each of them is told. One that fails does not stop what it watches."""

    def __init__(self, observers: Rows[Observer], log_warning: Callable[[str], None]) -> None:
        self._observers = observers
        self._log_warning = log_warning
        self._failing: set[str] = set()

    def admitted(self, sequence: Sequence) -> None:
        self._tell(lambda observer: observer.admitted(sequence))

    def planned(self, plans: Rows[Plan]) -> None:
        self._tell(lambda observer: observer.planned(plans))

    def answered(self, drafter: str, rows: Rows[DraftRow], asked: float, now: float) -> None:
        self._tell(lambda observer: observer.answered(drafter, rows, asked, now))

    def failed(self, drafter: str) -> None:
        self._tell(lambda observer: observer.failed(drafter))

    def gained(self, sequence: Sequence, draft: Draft, result: VerifyResult, num_tokens: int, now: float) -> None:
        self._tell(lambda observer: observer.gained(sequence, draft, result, num_tokens, now))

    def round_ended(self, group: Rows[Sequence], drafts: Rows[Draft], moments: Moments) -> None:
        self._tell(lambda observer: observer.round_ended(group, drafts, moments))

    def ended(self, sequence: Sequence) -> None:
        self._tell(lambda observer: observer.ended(sequence))

    def _tell(self, event: Callable[[Observer], None]) -> None:
        for observer in self._observers:
            try:
                event(observer)
            except Exception as error:
                self._warn_once(type(observer).__name__, error)

    def _warn_once(self, name: str, error: Exception) -> None:
        if name not in self._failing:
            self._failing.add(name)
            self._log_warning(f"{name} failed, and what it reports is incomplete from now on: {error!r}")
