"""Sessions' pending tokens to one `Block`: padding, positions, and what a draft node may see."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cospec.engine.forward import Block
from cospec.engine.language_model import LanguageModel
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

    @property
    def choices(self) -> range:
        """The columns after which a token is to be chosen: the last of the context, and every node."""
        return range(len(self.context) - 1, self.end - self.start)


def prefill(model: LanguageModel, part: Part, chunk: int) -> Part:
    """Read a long context up to its last token, `chunk` tokens at a time; returns what is left to read."""
    while len(part.context) > SHORT_CONTEXT:
        size = min(chunk, len(part.context) - 1)
        model.logits(assemble(model, [Part(part.slot, part.start, part.context[:size])]))
        part = Part(part.slot, part.start + size, part.context[size:], part.tree)
    return part


def assemble(model: LanguageModel, parts: Sequence[Part], wanted: Sequence[range] | None = None) -> Block:
    """`wanted`: for each part, the columns whose logits are asked for; by default its `choices`."""
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
    columns = wanted or [part.choices for part in parts]
    arrays = (
        tokens,
        positions,
        cache_positions,
        np.asarray([part.slot for part in parts]),
        np.asarray([part.start for part in parts]),
        _relatives(parts, width),
    )
    longest = max(part.end for part in parts)
    flat = np.asarray([row * width + column for row, chosen in enumerate(columns) for column in chosen])
    return Block(*[*map(model.tensor, arrays), model.cache.columns(longest), model.tensor(flat)])


def next_tokens(model: LanguageModel, slots: Tensor, tokens: Tensor, positions: Tensor, longest: int) -> Block:
    """One token a row, behind what its slot holds; each tensor int64 [rows]."""
    count, places = tokens.shape[0], positions[:, None]
    columns = model.cache.columns(longest)
    return Block(tokens[:, None], places, places, slots, positions, model.alone[:count], columns, model.rows[:count])


def _relatives(parts: Sequence[Part], width: int) -> NDArray[np.bool_]:
    """bool [parts, width, width]: in a chain, what stands before; in a tree, ancestors. Padding sees all."""
    relatives = np.repeat(np.tri(width, dtype=bool)[None], len(parts), axis=0)
    for row, part in enumerate(parts):
        first, end = len(part.context), part.end - part.start
        if not part.tree.is_chain():
            relatives[row, first:end, first:end] = ancestors(part.tree)
        relatives[row, end:] = True
    return relatives


def ancestors(tree: DraftTree) -> NDArray[np.bool_]:
    """bool [nodes, nodes]: `[i, j]` when j is i or one of its ancestors."""
    seen = np.eye(len(tree), dtype=bool)
    for node, parent in enumerate(tree.parents):
        if parent != NO_PARENT:
            seen[node] |= seen[parent]
    return seen
