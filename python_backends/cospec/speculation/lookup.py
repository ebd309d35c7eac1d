"""The free expert: continues as the same words were continued before, in the prompt or in the output.

Prompt lookup (n-gram drafting). No model, no call: it answers in this process, as a drafter like any other. Its margin
is the length of the match, which calibration turns into a chance.
"""

from collections.abc import Sequence

from cospec.config import RESERVED
from cospec.speculation.types import DraftResult, DraftRow, DraftTree, Status

LOOKUP = RESERVED  # its name among the drafters
LONGEST = 6  # tokens of a match that count
SHORTEST = 2


class LookupDrafter:
    """Sessions as every drafter has them: the tokens, and where each n-gram was seen last."""

    def __init__(self) -> None:
        self._memories: dict[int, _Memory] = {}

    async def draft(self, rows: Sequence[DraftRow]) -> list[DraftResult]:
        return [self._draft(row) for row in rows]

    async def release(self, session_ids: Sequence[int]) -> None:
        for session_id in session_ids:
            self._memories.pop(session_id, None)

    def _draft(self, row: DraftRow) -> DraftResult:
        memory = self._memories.setdefault(row.session_id, _Memory())
        if len(memory.tokens) < row.committed_length:
            return DraftResult(Status.UNKNOWN_STATE)
        memory.go_on(row.committed_length, row.context.tolist())
        guesses, matched = memory.continuation(row.num_draft_tokens)
        return DraftResult(Status.OK, DraftTree.chain(guesses, [float(matched)] * len(guesses)))


class _Memory:
    def __init__(self) -> None:
        self.tokens: list[int] = []
        self._places: dict[tuple[int, ...], int] = {}  # n-gram -> where the text went on

    def go_on(self, committed: int, context: Sequence[int]) -> None:
        if committed < len(self.tokens):  # told anew
            self.tokens, self._places = self.tokens[:committed], {}
            self._index(0)
        known = len(self.tokens)
        self.tokens.extend(context)
        self._index(known)

    def continuation(self, count: int) -> tuple[Sequence[int], int]:
        """Up to `count` tokens, and how many tokens before them were matched."""
        for length in range(min(LONGEST, len(self.tokens)), SHORTEST - 1, -1):
            place = self._places.get(tuple(self.tokens[-length:]))
            if place is not None:
                return self.tokens[place : place + count], length
        return (), 0

    def _index(self, start: int) -> None:
        """The n-grams that a token at or behind `start` follows."""
        for end in range(max(start, SHORTEST), len(self.tokens)):
            for length in range(SHORTEST, min(LONGEST, end) + 1):
                self._places[tuple(self.tokens[end - length : end])] = end
