"""The vocabulary of the round loop: what is asked of drafters and verifier, and what they answer."""

import math
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

TokenArray = NDArray[np.int32]

MOST_NATS = 15.0  # log-odds beyond it say no more
NO_PARENT = -1  # a tree node that continues the last context token


class Status(IntEnum):
    """A callee's answer for one row. Anything but OK leaves the session as it was."""

    OK = 0
    UNKNOWN_STATE = 1  # the callee holds fewer tokens than `committed_length`: resend them all
    NO_SLOT = 2  # every slot of the KV cache is taken: try again later
    TOO_LONG = 3  # context and nodes do not fit into the slot


@dataclass(frozen=True)
class SamplingParameters:
    temperature: float = 0.0  # 0: greedy
    top_k: int = 0  # 0: the whole vocabulary
    top_p: float = 1.0
    seed: int = 0  # uint64
    eos_allowed_from: int = 0  # absolute position from which EOS may be produced (min_tokens)


@dataclass(frozen=True)
class DraftTree:
    """Nodes in topological order: `parents[i] < i`, or `NO_PARENT`. A chain is a tree.

    A drafter's confidence in a node is its margin: how far its (noisy) score is ahead of the best other choice behind
    the same parent, in nats; negative when another is ahead. It tells far better than the node's probability whether
    the verifier will choose it, since a choice is all about who is ahead.
    """

    tokens: tuple[int, ...] = ()
    parents: tuple[int, ...] = ()
    margins: tuple[float, ...] = ()

    @staticmethod
    def chain(tokens: Sequence[int], margins: Sequence[float] = ()) -> "DraftTree":
        return DraftTree(tuple(tokens), tuple(range(-1, len(tokens) - 1)), tuple(margins))

    def __len__(self) -> int:
        return len(self.tokens)

    def node_depths(self) -> list[int]:
        """1 for a node that continues the context."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(1 if parent == NO_PARENT else depths[parent] + 1)
        return depths

    def depth(self) -> int:
        """Length of the longest path from the root."""
        return max(self.node_depths(), default=0)

    def first_of_each_depth(self) -> tuple[int, ...]:
        """Tokens."""
        first: dict[int, int] = {}
        for token, depth in zip(self.tokens, self.node_depths(), strict=True):
            first.setdefault(depth, token)
        return tuple(first.values())

    def is_ordered(self) -> bool:
        """Whether every node stands behind its parent, as all that walk the tree take it."""
        return all(NO_PARENT <= parent < node for node, parent in enumerate(self.parents))

    def is_chain(self) -> bool:
        return self.parents == tuple(range(-1, len(self) - 1))


@dataclass(frozen=True)
class VerifyRow:
    """Check `tree` after `context`. The callee must hold exactly `committed_length` tokens of the sequence."""

    session_id: int  # uint64
    committed_length: int
    context: TokenArray  # int32 [>= 1]: the tokens from `committed_length` on; the first call sends the whole prompt
    tree: DraftTree
    sampling: SamplingParameters
    num_tokens: int = 1  # to generate, one forward each, where `tree` is empty


@dataclass(frozen=True)
class VerifyResult:
    status: Status
    committed_length: int  # tokens that the callee now holds: all but the last of `tokens`
    path: tuple[int, ...] = ()  # accepted nodes, root first
    tokens: tuple[int, ...] = ()  # the tokens of `path` and the bonus token; without a tree, the next tokens


@dataclass(frozen=True)
class StopRule:
    """When a draft ends early: the verifier reaches the next token with too small a chance to pay for drafting it.

    Chance that a token is chosen = sigmoid(slope * margin + intercept); a draft ends where the product of these falls
    below `below` (AdaSpec's rule, with calibrated confidences).
    """

    below: float = 0.0  # 0: never
    slope: float = 1.0
    intercept: float = 0.0

    def chance(self, margin: float) -> float:
        return 0.5 + 0.5 * math.tanh(0.5 * (self.slope * margin + self.intercept))  # the sigmoid, without overflow


NEVER = StopRule()


@dataclass(frozen=True)
class DraftRow:
    """Draft a tree of depth `num_draft_tokens`. The callee must hold at least `committed_length` tokens; it drops the
    rest.

    At each depth the `width` most probable nodes are read, and each gets `branching` children: 1 and 1 make a chain.
    `score_context` asks only how likely the context is, for routing; the session ends with the answer.
    """

    session_id: int  # uint64
    committed_length: int
    context: TokenArray  # int32 [>= 1]
    num_draft_tokens: int  # 0: only read the context
    sampling: SamplingParameters
    width: int = 1
    branching: int = 1
    stop: StopRule = NEVER  # of chains
    score_context: bool = False

    @property
    def num_read_nodes(self) -> int:
        """Draft tokens that the callee reads, each an entry of its cache: none of the last depth."""
        return self.width * max(0, self.num_draft_tokens - 1)


@dataclass(frozen=True)
class DraftResult:
    """With a width of 1 the callee then holds, behind the context, the first nodes of all depths but the last."""

    status: Status
    tree: DraftTree = DraftTree()
    context_log_likelihood: float = field(default=0.0)  # mean over context tokens after the first; 0 unless scored


class Verifier(Protocol):
    def verify(self, rows: Sequence[VerifyRow]) -> Awaitable[list[VerifyResult]]: ...

    async def release(self, session_ids: Sequence[int]) -> None: ...


class Drafter(Protocol):
    def draft(self, rows: Sequence[DraftRow]) -> Awaitable[list[DraftResult]]: ...

    async def release(self, session_ids: Sequence[int]) -> None: ...
