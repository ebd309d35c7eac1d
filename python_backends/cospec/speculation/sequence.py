"""One live request: its tokens, what verifier and drafters hold of it, and how it ends."""

import asyncio
import math
from collections.abc import Mapping
from collections.abc import Sequence as Rows
from dataclasses import dataclass, field

import numpy as np

from cospec.speculation.acceptance import Acceptance
from cospec.speculation.fusion import FusedTree
from cospec.speculation.request import GenerationRequest
from cospec.speculation.routing import RoutingVector
from cospec.speculation.slo import Progress
from cospec.speculation.statistics import RequestStatistics
from cospec.speculation.text_stream import Decode, TextStream
from cospec.speculation.types import DraftTree, SamplingParameters, TokenArray, VerifyResult, VerifyRow


@dataclass(frozen=True)
class Finish:
    """`reason` is stop, length or cancelled; `detail` is the stop word or end token that was met."""

    reason: str
    detail: str = ""


class CalleeError(RuntimeError):
    """Verifier or drafter could not be asked; the message is fit for a client."""


@dataclass
class Draft:
    """What a round proposes for one sequence."""

    drafters: tuple[str, ...] = ()  # those that answered, the best first
    fused: FusedTree = field(default_factory=FusedTree)  # all that was proposed
    nodes: Rows[int] = ()  # of `fused`, those to verify
    tree: DraftTree = field(default_factory=DraftTree)  # they
    # Drafter -> draft tokens that it has read, and holds behind the sequence's own.
    read: dict[str, Rows[int]] = field(default_factory=dict)
    deepest: int = 0  # draft tokens that could have been accepted, had the drafters not doubted

    def __len__(self) -> int:
        return len(self.tree)


@dataclass
class Sequence:
    """`session_id` names it towards verifier and drafters; unique among live sequences."""

    session_id: int
    request: GenerationRequest
    text: TextStream
    routing: RoutingVector
    tokens: list[int] = field(default_factory=list)
    verifier_length: int = 0
    drafter_lengths: dict[str, int] = field(default_factory=dict)
    routed: bool = False  # whether something is expected of its drafters
    last_draft_size: int = 0  # nodes that were verified in its last round
    acceptance: Acceptance = field(default_factory=Acceptance)
    passed_over: int = 0  # rounds that went without it while it was ready
    statistics: RequestStatistics = field(default_factory=RequestStatistics)
    finish: Finish | None = None
    error: CalleeError | None = None
    cancelled: bool = False
    submitted_at: float = 0.0
    started_at: float | None = None  # when its first round began
    first_token_at: float | None = None
    last_token_at: float | None = None
    ended_at: float = 0.0
    busy_before: float = 0.0  # the round loop's processor time when it was submitted
    failing_since: float | None = None
    progress: asyncio.Event = field(default_factory=asyncio.Event)  # set when there is news for the caller
    news_from: float = -math.inf  # moment before which its caller wants none but the last

    @staticmethod
    def create(session_id: int, request: GenerationRequest, decode: Decode, drafters: Rows[str]) -> "Sequence":
        text = TextStream(decode, request.stop_words, request.prompt)
        return Sequence(session_id, request, text, RoutingVector(drafters), list(request.prompt))

    @property
    def sampling(self) -> SamplingParameters:
        return self.request.sampling

    @property
    def greedy(self) -> bool:
        return self.sampling.temperature == 0

    @property
    def num_output_tokens(self) -> int:
        return len(self.tokens) - len(self.request.prompt)

    @property
    def num_remaining_tokens(self) -> int:
        return self.request.max_tokens - self.num_output_tokens

    @property
    def num_unread(self) -> int:
        """Tokens that the verifier has not read; 1 while it decodes."""
        return len(self.tokens) - self.verifier_length

    @property
    def done(self) -> bool:
        return self.finish is not None or self.error is not None

    def tokens_from(self, start: int) -> TokenArray:
        return np.asarray(self.tokens[start:], dtype=np.int32)

    def verify_row(self, tree: DraftTree, num_tokens: int, piece: int) -> VerifyRow:
        """`num_tokens`: to generate where `tree` is empty; `piece`: unread tokens to read first."""
        wanted = 1 if len(tree) else min(num_tokens, self.num_remaining_tokens)
        context = self.tokens_from(self.verifier_length)[:piece]
        return VerifyRow(self.session_id, self.verifier_length, context, tree, self.sampling, wanted)

    def progress_at(self, now: float) -> Progress:
        """`now`, like the moments here, on the round loop's clock."""
        started = self.first_token_at
        waited = (now if started is None else started) - self.submitted_at
        return Progress(self.request.slo, waited, 0.0 if started is None else now - started, self.num_output_tokens)

    def read_piece(self, length: int) -> None:
        """The verifier has read so many more tokens, and not yet all."""
        self.verifier_length += length

    def accept(self, result: VerifyResult, draft: Draft, end_tokens: Mapping[int, str]) -> None:
        """Take over verified tokens, up to the one that ends the request. `end_tokens`: EOS ids and their texts."""
        if self.num_unread == 1:  # else it is the prompt's own pass
            self.statistics.observe_round(draft.drafters, [draft.fused.nodes[i] for i in draft.nodes], result.path)
        for drafter, read in draft.read.items():  # it must read the last token anew, to have something to go on from
            self.drafter_lengths[drafter] = len(self.tokens) + _common(read, result.tokens[:-1])
        self.verifier_length = result.committed_length
        for token in result.tokens:
            self._append(token, end_tokens)
            if self.finish is not None:
                break

    def tell_caller(self, now: float) -> None:
        """That a round is over, if it wants to know yet."""
        if self.done or now >= self.news_from:
            self.progress.set()

    def note_gain(self, now: float) -> None:
        """Tokens came."""
        self.first_token_at = now if self.first_token_at is None else self.first_token_at
        self.last_token_at = now

    def end(self, outcome: "Finish | CalleeError") -> None:
        """End for a reason other than its own tokens; the first outcome stands."""
        if self.done:
            return
        if isinstance(outcome, Finish):
            self.finish = outcome
        else:
            self.error = outcome

    def settle(self, now: float, busy: float) -> None:
        """It has ended; `now` and `busy`: of the round loop's clocks."""
        self.ended_at, latency = now, now - self.submitted_at
        statistics, spent = self.statistics, self.statistics.seconds
        statistics.slo_met = self.progress_at(now).met(latency)
        spent["other"] = latency - spent["route"] - spent["draft"] - spent["verify"]
        statistics.orchestrator_share = (busy - self.busy_before) / latency if latency else 0.0

    def _append(self, token: int, end_tokens: Mapping[int, str]) -> None:
        self.tokens.append(token)
        if token in end_tokens and not self.request.ignore_eos:
            self.finish = Finish("stop", end_tokens[token])
        elif self.text.push(token):
            self.finish = Finish("stop", self.text.stop_word or "")
        elif self.num_remaining_tokens == 0:
            self.finish = Finish("length")


def _common(read: Rows[int], verified: Rows[int]) -> int:
    """Length of the common prefix."""
    for count, (one, other) in enumerate(zip(read, verified, strict=False)):
        if one != other:
            return count
    return min(len(read), len(verified))
