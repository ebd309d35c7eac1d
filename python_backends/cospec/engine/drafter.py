"""A drafter's engine: reads what is new of many sequences in one forward, then guesses on, one token a forward."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from cospec.engine.blocks import Part, assemble, prefill
from cospec.engine.language_model import LanguageModel
from cospec.engine.sampling import SamplingBatch, choose_tokens, confidences
from cospec.engine.sessions import Session, SessionTable
from cospec.speculation.types import DraftResult, DraftRow, Status


@dataclass
class _Draft:
    """A row in work."""

    row: DraftRow
    session: Session
    tokens: list[int] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    log_likelihood: float = 0.0

    def next_part(self) -> Part:
        """The last drafted token, behind what the session holds."""
        return Part(self.session.slot, self.session.length, np.asarray(self.tokens[-1:], dtype=np.int32))


class DrafterEngine:
    def __init__(self, model: LanguageModel, sessions: SessionTable, prefill_chunk: int) -> None:
        self._model = model
        self._sessions = sessions
        self._prefill_chunk = prefill_chunk

    def draft(self, rows: Sequence[DraftRow]) -> list[DraftResult]:
        """One result per row, in order; a row that cannot be served does not hold up the others."""
        opened = [self._open(row) for row in rows]
        drafts = {item.session.slot: item for item in opened if isinstance(item, _Draft)}
        self._generate([drafts[slot] for slot in sorted(drafts)])
        served = {id(draft) for draft in drafts.values()}
        return [self._result(item, served) for item in opened]

    def release(self, session_ids: Sequence[int]) -> None:
        for session_id in session_ids:
            self._sessions.release(session_id)

    def _open(self, row: DraftRow) -> "_Draft | Status":
        if row.committed_length + len(row.context) + row.num_draft_tokens > self._model.max_length:
            return Status.TOO_LONG
        if row.committed_length == 0:
            session = self._sessions.open(row.session_id)
            return Status.NO_SLOT if session is None else _Draft(row, session)
        session = self._sessions.find(row.session_id)
        if session is None or session.length < row.committed_length:
            return Status.UNKNOWN_STATE
        return _Draft(row, session)

    def _result(self, item: "_Draft | Status", served: set[int]) -> DraftResult:
        if isinstance(item, Status):
            return DraftResult(item)
        if id(item) not in served:  # the same session twice in one call
            return DraftResult(Status.UNKNOWN_STATE)
        return DraftResult(Status.OK, tuple(item.tokens), tuple(item.confidences), item.log_likelihood)

    def _generate(self, drafts: list[_Draft]) -> None:
        if not drafts:
            return
        for draft in drafts:
            draft.session.length = draft.row.committed_length
        parts = [self._read(draft) for draft in drafts]
        active = drafts
        while True:
            hidden = self._model.forward(assemble(self._model, parts))
            last = hidden[range(len(parts)), [len(part.context) - 1 for part in parts]]
            for draft, part in zip(active, parts, strict=True):
                draft.session.length = part.end
            pending = [index for index, draft in enumerate(active) if len(draft.tokens) < draft.row.num_draft_tokens]
            if not pending:
                return
            active = [active[index] for index in pending]
            self._choose(active, last[pending])
            active = [draft for draft in active if len(draft.tokens) < draft.row.num_draft_tokens]
            if not active:
                return
            parts = [draft.next_part() for draft in active]

    def _read(self, draft: _Draft) -> Part:
        row = draft.row
        part = Part(draft.session.slot, row.committed_length, row.context)
        if row.score_context and len(row.context) > 1:
            draft.log_likelihood = self._score(part)
            return Part(part.slot, part.end - 1, part.context[-1:])
        return prefill(self._model, part, self._prefill_chunk)

    def _score(self, part: Part) -> float:
        """Mean log-likelihood of the context's tokens after the first, in nats."""
        logits = self._model.logits(self._model.forward(assemble(self._model, [part]))[0, :-1])
        targets = torch.from_numpy(part.context[1:].astype(np.int64)).to(logits.device)
        return float(logits.log_softmax(-1).gather(-1, targets[:, None]).mean())

    @torch.inference_mode()
    def _choose(self, drafts: Sequence[_Draft], hidden: Tensor) -> None:
        """Draft one token each. `hidden` [drafts, hidden size] at the last token read."""
        logits = self._model.logits(hidden)
        sampling = SamplingBatch.from_parameters([draft.row.sampling for draft in drafts], self._model.device)
        positions = torch.tensor([draft.session.length for draft in drafts], device=self._model.device)
        tokens = choose_tokens(logits, positions, sampling, self._model.end_tokens)
        probabilities = confidences(logits, tokens, sampling).tolist()
        for draft, token, probability in zip(drafts, tokens.tolist(), probabilities, strict=True):
            draft.tokens.append(token)
            draft.confidences.append(probability)
