"""Verifier and drafters that follow a script: the next token is a function of the tokens before it."""

import asyncio
from collections.abc import Callable, Sequence

from cospec.speculation.sequence import CalleeError
from cospec.speculation.types import (
    NO_PARENT,
    DraftResult,
    DraftRow,
    DraftTree,
    Status,
    VerifyResult,
    VerifyRow,
)

NextToken = Callable[[Sequence[int]], int]


class ScriptedVerifier:
    """Holds sessions as strictly as the real one; `failures` calls fail first; `num_slots` may run out."""

    def __init__(
        self, next_token: NextToken, num_slots: int = 64, failures: int = 0, max_length: int = 1_000_000
    ) -> None:
        self.next_token = next_token
        self.num_slots = num_slots
        self.failures = failures
        self.max_length = max_length
        self.sessions: dict[int, list[int]] = {}
        self.group_sizes: list[int] = []

    async def verify(self, rows: Sequence[VerifyRow]) -> list[VerifyResult]:
        await asyncio.sleep(0)  # a real call lets others run
        if self.failures:
            self.failures -= 1
            raise CalleeError("verifier failed: scripted")
        self.group_sizes.append(len(rows))
        return [self._verify(row) for row in rows]

    async def release(self, session_ids: Sequence[int]) -> None:
        for session_id in session_ids:
            self.sessions.pop(session_id, None)

    def _verify(self, row: VerifyRow) -> VerifyResult:
        assert len(row.context), "nothing to read"
        if row.committed_length + len(row.context) + max(len(row.tree), row.num_tokens - 1) > self.max_length:
            return VerifyResult(Status.TOO_LONG, row.committed_length)
        held = self.sessions.get(row.session_id, [])
        if row.committed_length and len(held) != row.committed_length:
            return VerifyResult(Status.UNKNOWN_STATE, len(held))
        if row.session_id not in self.sessions and len(self.sessions) >= self.num_slots:
            return VerifyResult(Status.NO_SLOT, 0)
        tokens = held[: row.committed_length] + row.context.tolist()
        path, new = walk(row.tree, tokens, self.next_token)
        while len(new) < row.num_tokens:
            new.append(self.next_token(tokens + new))
        self.sessions[row.session_id] = tokens + new[:-1]
        return VerifyResult(Status.OK, len(tokens) + len(new) - 1, tuple(path), tuple(new))


def walk(tree: DraftTree, tokens: list[int], next_token: NextToken) -> tuple[list[int], list[int]]:
    """The accepted nodes, and their tokens with the bonus token."""
    path: list[int] = []
    new: list[int] = []
    node = NO_PARENT
    while True:
        new.append(next_token(tokens + new))
        children = [i for i, parent in enumerate(tree.parents) if parent == node and tree.tokens[i] == new[-1]]
        if not children:
            return path, new
        node = children[0]
        path.append(node)


class ScriptedDrafter:
    """Drafts by its own script, and checks that what it is told it holds is what it was given."""

    def __init__(
        self, next_token: NextToken, log_likelihood: float = -1.0, failures: int = 0, margin: float = 1.0
    ) -> None:
        self.next_token = next_token
        self.margin = margin
        self.log_likelihood = log_likelihood
        self.failures = failures
        self.sessions: dict[int, list[int]] = {}
        self.num_calls = 0

    async def draft(self, rows: Sequence[DraftRow]) -> list[DraftResult]:
        self.num_calls += 1
        if self.failures:
            self.failures -= 1
            raise CalleeError("drafter failed: scripted")
        return [self._draft(row) for row in rows]

    async def release(self, session_ids: Sequence[int]) -> None:
        for session_id in session_ids:
            self.sessions.pop(session_id, None)

    def _draft(self, row: DraftRow) -> DraftResult:
        assert len(row.context), "nothing to read"
        held = self.sessions.get(row.session_id, [])
        if len(held) < row.committed_length:
            return DraftResult(Status.UNKNOWN_STATE)
        tokens = held[: row.committed_length] + row.context.tolist()
        drafted: list[int] = []
        for _ in range(row.num_draft_tokens):
            drafted.append(self.next_token(tokens + drafted))
        if not row.score_context:
            self.sessions[row.session_id] = tokens + (drafted[:-1] if row.width == 1 else [])
        return DraftResult(Status.OK, self._with_siblings(drafted, row.branching), self.log_likelihood)

    def _with_siblings(self, drafted: Sequence[int], branching: int) -> DraftTree:
        """Beside each token of the script, wrong ones that the drafter trusts less."""
        tokens = [token + other for token in drafted for other in range(branching)]
        parents = [NO_PARENT if not depth else (depth - 1) * branching for depth in range(len(drafted))]
        margins = [self.margin if not other else -self.margin for _ in drafted for other in range(branching)]
        return DraftTree(tuple(tokens), tuple(p for p in parents for _ in range(branching)), tuple(margins))
