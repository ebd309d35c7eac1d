"""A drafter's engine: reads what is new of many sequences in one forward, then guesses on, one token a forward."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from cospec.engine.blocks import Part, assemble, prefill
from cospec.engine.branches import beams, chains
from cospec.engine.decoding import Step, decode
from cospec.engine.language_model import LanguageModel
from cospec.engine.sampling import SamplingBatch
from cospec.engine.sessions import Session, SessionTable
from cospec.speculation.types import DraftResult, DraftRow, DraftTree, Status, StopRule


@dataclass
class _Draft:
    """A row in work."""

    row: DraftRow
    session: Session
    tree: DraftTree = field(default_factory=DraftTree)
    log_likelihood: float = 0.0

    @property
    def length(self) -> int:
        return self.row.num_draft_tokens

    @property
    def kind(self) -> tuple[int, int, int]:
        """Those of a kind share their forwards: chains of any length, but beams of one, since all grow alike."""
        return self.row.width, self.row.branching, self.length if self.row.width > 1 else 0


class DrafterEngine:
    def __init__(self, model: LanguageModel, sessions: SessionTable, prefill_chunk: int) -> None:
        self._model = model
        self.sessions = sessions
        self._prefill_chunk = prefill_chunk

    @property
    def vocabulary_size(self) -> int:
        return self._model.architecture.vocab_size

    def draft(self, rows: Sequence[DraftRow]) -> list[DraftResult]:
        """One result per row, in order; a row that cannot be served does not hold up the others."""
        opened = [self._open(row) for row in rows]
        drafts = {item.session.slot: item for item in opened if isinstance(item, _Draft)}
        scored = [draft for draft in drafts.values() if draft.row.score_context]
        for draft in scored:
            draft.log_likelihood = self._score(draft)
        going_on = [draft for draft in drafts.values() if not draft.row.score_context]
        going_on.sort(key=lambda draft: (*draft.kind, -draft.length))
        for _, alike in groupby(going_on, lambda draft: draft.kind):
            self._generate(list(alike))
        self.release([draft.row.session_id for draft in scored])
        served = {id(draft) for draft in drafts.values()}
        return [self._result(item, served) for item in opened]

    def release(self, session_ids: Sequence[int]) -> None:
        for session_id in session_ids:
            self.sessions.release(session_id)

    def _open(self, row: DraftRow) -> "_Draft | Status":
        if row.committed_length + len(row.context) + max(1, row.num_read_nodes) > self._model.max_length:
            return Status.TOO_LONG
        if row.committed_length == 0:
            session = self.sessions.open(row.session_id)
            return Status.NO_SLOT if session is None else _Draft(row, session)
        session = self.sessions.find(row.session_id)
        if session is None or session.length < row.committed_length:
            return Status.UNKNOWN_STATE
        return _Draft(row, session)

    def _result(self, item: "_Draft | Status", served: set[int]) -> DraftResult:
        if isinstance(item, Status):
            return DraftResult(item)
        if id(item) not in served:  # the same session twice in one call
            return DraftResult(Status.UNKNOWN_STATE)
        return DraftResult(Status.OK, item.tree, item.log_likelihood)

    @torch.inference_mode()
    def _generate(self, drafts: Sequence[_Draft]) -> None:
        """`drafts` of one kind, the longest first."""
        for draft in drafts:
            draft.session.length = draft.row.committed_length
        parts = [self._read(draft) for draft in drafts]
        logits = self._model.logits(assemble(self._model, parts))
        for draft, part, tree in zip(drafts, parts, self._trees(drafts, parts, logits), strict=True):
            draft.tree = tree
            draft.session.length = part.end + (max(0, tree.depth() - 1) if draft.row.width == 1 else 0)

    def _trees(self, drafts: Sequence[_Draft], parts: Sequence[Part], logits: Tensor) -> list[DraftTree]:
        sampling = SamplingBatch.from_parameters([draft.row.sampling for draft in drafts], self._model.device)
        lengths, (width, branching, _) = [draft.length for draft in drafts], drafts[0].kind
        if width == 1:
            ends = _Reaches([draft.row.stop for draft in drafts]).all_low
            return chains(decode(self._model, parts, logits, lengths, sampling, ends), len(drafts), branching)
        return beams(self._model, parts, logits, lengths[0], width, branching, sampling)

    def _read(self, draft: _Draft) -> Part:
        row = draft.row
        return prefill(self._model, Part(draft.session.slot, row.committed_length, row.context), self._prefill_chunk)

    @torch.inference_mode()
    def _score(self, draft: _Draft) -> float:
        """Mean log-likelihood of the context's tokens after the first, in nats."""
        row = draft.row
        targets = self._model.tensor(row.context[1:].astype(np.int64))
        if not len(targets):
            return 0.0
        part = Part(draft.session.slot, row.committed_length, row.context[:-1])
        logits = self._model.logits(assemble(self._model, [part], [range(len(part.context))]))
        return float(logits.log_softmax(-1).gather(-1, targets[:, None]).mean())


class _Reaches:
    """How probably the verifier gets to the end of each row's chain."""

    def __init__(self, rules: Sequence[StopRule]) -> None:
        self._rules = rules
        self._reaches = [1.0] * len(rules)
        self._never = any(rule.below == 0 for rule in rules)

    def all_low(self, step: Step) -> bool:
        """Take in a step; whether no row's chain is worth going on with."""
        if self._never:
            return False
        for row, (best, second) in enumerate(step.scores.topk(2).values.tolist()):
            self._reaches[row] *= self._rules[row].chance(best - second)
        going_on = range(len(step.tokens))
        return all(self._reaches[row] < self._rules[row].below for row in going_on)
