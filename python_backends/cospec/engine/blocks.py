"""Sessions' pending tokens to one `Block`: padding, positions, and what a draft node may see."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cospec.engine.language_model import Block, LanguageModel
from cospec.speculation.types import NO_PARENT, DraftTree, TokenArray

SHORT_CONTEXT = 32  # a longer one is prefilled on its own first: padding the other rows to it would cost more
EMPTY_TREE = DraftTree()


@dataclass(frozen=True)
class Part:
    """One row of a block: `context` follows the `start` entries of `slot`, the nodes of `tree` follow the context."""

    slot: int
    start: int
    context: TokenArray
    tree: DraftTree = EMPTY_TREE

    @property
    def first_node(self) -> int:
        """Where the nodes' entries begin."""
        return self.start + len(self.context)

    @property
    def end(self) -> int:
        return self.first_node + len(self.tree)


def prefill(model: LanguageModel, part: Part, chunk: int) -> Part:
    """Read a long context up to its last token, `chunk` tokens at a time; returns what is left to read."""
    while len(part.context) > SHORT_CONTEXT:
        size = min(chunk, len(part.context) - 1)
        model.forward(assemble(model, [Part(part.slot, part.start, part.context[:size])]))
        part = Part(part.slot, part.start + size, part.context[size:], part.tree)
    return part


def assemble(model: LanguageModel, parts: Sequence[Part]) -> Block:
    """`parts` in the order of their slots."""
    width = max(part.end - part.start for part in parts)
    tokens = np.zeros((len(parts), width), dtype=np.int64)
    positions = np.zeros_like(tokens)
    cache_positions = np.full_like(tokens, model.max_length)
    for row, part in enumerate(parts):
        context, length = len(part.context), part.end - part.start
        tokens[row, :context] = part.context
        tokens[row, context:length] = part.tree.tokens
        cache_positions[row, :length] = np.arange(part.start, part.end)
        positions[row, :length] = cache_positions[row, :length]
        if len(part.tree):
            positions[row, context:length] = part.first_node - 1 + np.asarray(part.tree.node_depths())
    longest = max(part.end for part in parts)
    device = model.device
    return Block(
        torch.from_numpy(tokens).to(device),
        torch.from_numpy(positions).to(device),
        [part.slot for part in parts],
        torch.from_numpy(cache_positions).to(device),
        longest,
        _hidden_entries(parts, width, longest, device),
    )


def _hidden_entries(parts: Sequence[Part], width: int, longest: int, device: torch.device) -> torch.Tensor | None:
    """Nodes of other branches; None when every tree is a chain, for which order alone decides."""
    if all(part.tree.is_chain() for part in parts):
        return None
    hidden = np.zeros((len(parts), width, longest), dtype=bool)
    for row, part in enumerate(parts):
        first, count = len(part.context), len(part.tree)
        hidden[row, first : first + count, part.first_node : part.end] = ~ancestors(part.tree)
    return torch.from_numpy(hidden).to(device)


def ancestors(tree: DraftTree) -> NDArray[np.bool_]:
    """bool [nodes, nodes]: `[i, j]` when j is i or one of its ancestors."""
    seen = np.eye(len(tree), dtype=bool)
    for node, parent in enumerate(tree.parents):
        if parent != NO_PARENT:
            seen[node] |= seen[parent]
    return seen
