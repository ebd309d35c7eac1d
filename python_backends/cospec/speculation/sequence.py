"""One live request: its tokens, what verifier and drafters hold of it, and how it ends."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cospec.speculation.request import GenerationRequest
from cospec.speculation.statistics import RequestStatistics
from cospec.speculation.text_stream import Decode, TextStream
from cospec.speculation.types import DraftRow, DraftTree, VerifyResult, VerifyRow


@dataclass(frozen=True)
class Finish:
    """`reason` is stop, length or cancelled; `detail` is the stop word or end token that was met."""

    reason: str
    detail: str = ""


class CalleeError(RuntimeError):
    """Verifier or drafter could not be asked; the message is fit for a client."""


@dataclass
class Sequence:
    """`session_id` names it towards verifier and drafters; unique among live sequences."""

    session_id: int
    request: GenerationRequest
    text: TextStream
    tokens: list[int] = field(default_factory=list)
    verifier_length: int = 0
    drafter_lengths: dict[str, int] = field(default_factory=dict)
    drafter: str | None = None
    routed: bool = False  # or not to be
    statistics: RequestStatistics = field(default_factory=RequestStatistics)
    finish: Finish | None = None
    error: CalleeError | None = None
    cancelled: bool = False
    submitted_at: float = 0.0
    failing_since: float | None = None
    progress: asyncio.Event = field(default_factory=asyncio.Event)  # set when there is news for the caller

    @staticmethod
    def create(session_id: int, request: GenerationRequest, decode: Decode) -> "Sequence":
        sequence = Sequence(session_id, request, TextStream(decode, request.stop_words), list(request.prompt))
        sequence.drafter = request.speculation.drafter
        sequence.routed = sequence.drafter is not None or not request.speculation.enabled
        return sequence

    @property
    def num_output_tokens(self) -> int:
        return len(self.tokens) - len(self.request.prompt)

    @property
    def num_remaining_tokens(self) -> int:
        return self.request.max_tokens - self.num_output_tokens

    @property
    def done(self) -> bool:
        return self.finish is not None or self.error is not None

    def num_draft_tokens(self, default: int) -> int:
        """Draft length of the next round; the bonus token is one of the remaining ones."""
        if self.drafter is None or self.verifier_length == 0:
            return 0
        wanted = self.request.speculation.num_draft_tokens or default
        return max(0, min(wanted, self.num_remaining_tokens - 1))

    def verify_row(self, tree: DraftTree, num_tokens: int) -> VerifyRow:
        """`num_tokens`: to generate where `tree` is empty."""
        context = np.asarray(self.tokens[self.verifier_length :], dtype=np.int32)
        wanted = 1 if len(tree) else min(num_tokens, self.num_remaining_tokens)
        return VerifyRow(self.session_id, self.verifier_length, context, tree, self.request.sampling, wanted)

    def draft_row(self, drafter: str, num_draft_tokens: int) -> DraftRow:
        held = self.drafter_lengths.get(drafter, 0)
        context = np.asarray(self.tokens[held:], dtype=np.int32)
        return DraftRow(self.session_id, held, context, num_draft_tokens, self.request.sampling)

    def score_row(self, num_tokens: int) -> DraftRow:
        """The end of the prompt, for routing."""
        context = np.asarray(self.request.prompt[-num_tokens:], dtype=np.int32)
        return DraftRow(self.session_id, 0, context, 0, self.request.sampling, score_context=True)

    def accept(self, result: VerifyResult, tree: DraftTree, end_tokens: Mapping[int, str]) -> None:
        """Take over verified tokens, up to the one that ends the request. `end_tokens`: EOS ids and their texts."""
        self._observe(tree, len(result.path))
        self.verifier_length = result.committed_length
        for token in result.tokens:
            self._append(token, end_tokens)
            if self.finish is not None:
                break

    def end(self, outcome: "Finish | CalleeError") -> None:
        """End for a reason other than its own tokens; the first outcome stands."""
        if self.done:
            return
        if isinstance(outcome, Finish):
            self.finish = outcome
        else:
            self.error = outcome

    def _append(self, token: int, end_tokens: Mapping[int, str]) -> None:
        self.tokens.append(token)
        if token in end_tokens and not self.request.ignore_eos:
            self.finish = Finish("stop", end_tokens[token])
        elif self.text.push(token):
            self.finish = Finish("stop", self.text.stop_word or "")
        elif self.num_remaining_tokens == 0:
            self.finish = Finish("length")

    def _observe(self, tree: DraftTree, num_accepted: int) -> None:
        if self.verifier_length == 0:
            return  # the prompt's own pass
        if not len(tree) or self.drafter is None:
            self.statistics.observe_plain_round()
            return
        self.statistics.observe_round(self.drafter, len(tree), num_accepted)
        # The last drafted token was never read by its drafter.
        self.drafter_lengths[self.drafter] = len(self.tokens) + min(num_accepted, tree.depth() - 1)
