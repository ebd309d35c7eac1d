"""The verifier's engine: one forward over many rows' contexts and draft trees, then sample-and-match down each tree."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cospec.engine.blocks import Part, assemble, prefill
from cospec.engine.decoding import Step, by_row, decode
from cospec.engine.kv_cache import Move
from cospec.engine.language_model import LanguageModel
from cospec.engine.sampling import SamplingBatch, choose_tokens
from cospec.engine.sessions import Session, SessionTable
from cospec.speculation.types import NO_PARENT, DraftTree, Status, VerifyResult, VerifyRow


class VerifierEngine:
    def __init__(self, model: LanguageModel, sessions: SessionTable, prefill_chunk: int) -> None:
        self._model = model
        self.sessions = sessions
        self._prefill_chunk = prefill_chunk

    @property
    def vocabulary_size(self) -> int:
        return self._model.architecture.vocab_size

    def verify(self, rows: Sequence[VerifyRow]) -> list[VerifyResult]:
        """One result per row, in order; a row that cannot be served does not hold up the others."""
        results: list[VerifyResult | None] = [None] * len(rows)
        served: dict[int, tuple[Session, int]] = {}
        for index, row in enumerate(rows):
            session = self._session(row)
            if isinstance(session, VerifyResult):
                results[index] = session
            elif session.slot in served:
                results[index] = VerifyResult(Status.UNKNOWN_STATE, session.length)
            else:
                served[session.slot] = (session, index)
        ordered = [served[slot] for slot in sorted(served)]
        for (_, index), result in zip(ordered, self._advance(ordered, rows), strict=True):
            results[index] = result
        return [result for result in results if result is not None]

    def release(self, session_ids: Sequence[int]) -> None:
        for session_id in session_ids:
            self.sessions.release(session_id)

    def _session(self, row: VerifyRow) -> Session | VerifyResult:
        if row.committed_length + len(row.context) + max(len(row.tree), row.num_tokens - 1) > self._model.max_length:
            return VerifyResult(Status.TOO_LONG, row.committed_length)
        if row.committed_length == 0:
            return self.sessions.open(row.session_id) or VerifyResult(Status.NO_SLOT, 0)
        session = self.sessions.find(row.session_id)
        if session is None or session.length != row.committed_length:
            return VerifyResult(Status.UNKNOWN_STATE, session.length if session else 0)
        return session

    def _advance(self, ordered: Sequence[tuple[Session, int]], rows: Sequence[VerifyRow]) -> list[VerifyResult]:
        if not ordered:
            return []
        parts = [
            prefill(self._model, Part(session.slot, session.length, rows[i].context, rows[i].tree), self._prefill_chunk)
            for session, i in ordered
        ]
        choices = self._choose(parts, [rows[index] for _, index in ordered])
        matched = [match(part.tree, chosen) for part, chosen in zip(parts, choices, strict=True)]
        self._model.cache.move(
            [move for part, (path, _) in zip(parts, matched, strict=True) for move in _moves(part, path)]
        )
        return [
            _commit(session, part, path, tokens)
            for (session, _), part, (path, tokens) in zip(ordered, parts, matched, strict=True)
        ]

    @torch.inference_mode()
    def _choose(self, parts: Sequence[Part], rows: Sequence[VerifyRow]) -> list[list[int]]:
        """For each row, the verifier's token after the context, then after each node, or its next `num_tokens`."""
        block = assemble(self._model, parts)
        logits = self._model.logits(block)
        repeated = [row.sampling for row, part in zip(rows, parts, strict=True) for _ in part.choices]
        sampling = SamplingBatch.from_parameters(repeated, self._model.device)
        positions = block.positions[block.wanted] + 1
        tokens = iter(choose_tokens(logits, positions, sampling, self._model.end_tokens).tolist())
        choices = [[next(tokens) for _ in part.choices] for part in parts]
        self._go_on(parts, rows, logits, choices)
        return choices

    def _go_on(
        self, parts: Sequence[Part], rows: Sequence[VerifyRow], logits: Tensor, choices: list[list[int]]
    ) -> None:
        """Decode on where more than one token is asked for. `logits` [choices of all parts, vocab]."""
        longest_first = sorted(range(len(rows)), key=lambda index: -rows[index].num_tokens)
        going_on = [index for index in longest_first if rows[index].num_tokens > 1 and not len(rows[index].tree)]
        if not going_on:
            return
        firsts = np.cumsum([0, *(len(part.choices) for part in parts)])[going_on]
        sampling = SamplingBatch.from_parameters([rows[index].sampling for index in going_on], self._model.device)
        lengths = [rows[index].num_tokens for index in going_on]
        plain = [parts[index] for index in going_on]
        steps = decode(self._model, plain, logits[firsts], lengths, sampling, _AllEnd(self._model.end_tokens))
        tokens = torch.cat([step.tokens for step in steps]).tolist()
        for index, row in zip(going_on, by_row(steps, tokens, len(going_on)), strict=True):
            choices[index] = row


class _AllEnd:
    """Whether every row that goes on has come to an end of text, behind which hardly anybody reads."""

    def __init__(self, end_tokens: Sequence[int]) -> None:
        self._end_tokens = set(end_tokens)
        self._ended: set[int] = set()

    def __call__(self, step: Step) -> bool:
        self._ended |= {row for row, token in enumerate(step.tokens.tolist()) if token in self._end_tokens}
        return self._ended.issuperset(range(len(step.tokens)))


def _moves(part: Part, path: Sequence[int]) -> list[Move]:
    """Of the accepted nodes that stand elsewhere than behind one another."""
    first = part.first_node
    return [(part.slot, first + node, first + place) for place, node in enumerate(path) if node != place]


def _commit(session: Session, part: Part, path: Sequence[int], tokens: Sequence[int]) -> VerifyResult:
    session.length = part.first_node + len(tokens) - 1  # the last token is not read
    return VerifyResult(Status.OK, session.length, tuple(path), tuple(tokens))


def match(tree: DraftTree, chosen: Sequence[int]) -> tuple[list[int], list[int]]:
    """Walk from the root to the child that holds the verifier's own token, as long as there is one.

    `chosen`: the verifier's token after the context, then after each node; without nodes, the next tokens. Returns the
    accepted nodes, and the tokens gained: theirs, and the bonus token.
    """
    if not len(tree):
        return [], list(chosen)
    children = {
        (parent, token): node for node, (parent, token) in enumerate(zip(tree.parents, tree.tokens, strict=True))
    }
    path: list[int] = []
    tokens = [chosen[0]]
    node = children.get((NO_PARENT, tokens[-1]))
    while node is not None:
        path.append(node)
        tokens.append(chosen[1 + node])
        node = children.get((node, tokens[-1]))
    return path, tokens
