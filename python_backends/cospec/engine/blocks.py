"""Sessions' pending tokens to one `Block`: padding, positions, and what a draft node may see."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cospec.engine.forward import Block
from cospec.engine.language_model import LanguageModel
from cospec.speculation.types import NO_PARENT, DraftTree, TokenArray

SHORT_CONTEXT = 256  # a longer one is prefilled on its own first: where attention pads, all rows would be as long
EMPTY_TREE = DraftTree()


@dataclass(frozen=True)
class Part:
    """One row of a block: `context` follows the `start` entries of `slot`, the nodes of `tree` follow the context."""

    slot: int
    start: int
    context: TokenArray
    tree: DraftTree = EMPTY_TREE

    def __len__(self) -> int:
        """Its tokens."""
        return len(self.context) + len(self.tree)

    @property
    def tokens(self) -> NDArray[np.int64]:
        return np.asarray([*self.context, *self.tree.tokens], dtype=np.int64)

    @property
    def positions(self) -> NDArray[np.int64]:
        """A node's depth says how far behind the context its text position is."""
        context = np.arange(self.start, self.first_node)
        return np.append(context, self.first_node - 1 + np.asarray(self.tree.node_depths(), dtype=np.int64))

    @property
    def first_node(self) -> int:
        """Where the nodes' entries begin."""
        return self.start + len(self.context)

    @property
    def end(self) -> int:
        return self.start + len(self)

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
    width = max(map(len, parts))
    firsts = np.cumsum([0, *map(len, parts)])[:-1]  # each row's first token
    sources = np.minimum(np.arange(width), np.asarray([[len(part) - 1] for part in parts])) + firsts[:, None]
    columns = wanted or [part.choices for part in parts]
    arrays = (
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([part.positions for part in parts]),
        np.concatenate([np.arange(part.start, part.end) for part in parts]),
        np.concatenate([np.arange(len(part)) + row * width for row, part in enumerate(parts)]),
        sources,
        np.asarray([part.slot for part in parts]),
        np.asarray([part.start for part in parts]),
        _relatives(parts, width),
    )
    longest = max(part.end for part in parts)
    flat = np.asarray([first + column for first, chosen in zip(firsts, columns, strict=True) for column in chosen])
    return Block(*[*map(model.tensor, arrays), model.cache.columns(longest), model.tensor(flat)])


def next_tokens(model: LanguageModel, slots: Tensor, tokens: Tensor, positions: Tensor, longest: int) -> Block:
    """One token a row, behind what its slot holds; each tensor int64 [rows]."""
    rows, alone = model.rows[: tokens.shape[0]], model.alone[: tokens.shape[0]]
    columns = model.cache.columns(longest)
    return Block(tokens, positions, positions, rows, rows[:, None], slots, positions, alone, columns, rows)


def _relatives(parts: Sequence[Part], width: int) -> NDArray[np.bool_]:
    """bool [parts, width, width]: in a chain, what stands before; in a tree, ancestors. Padding sees all."""
    relatives = np.repeat(np.tri(width, dtype=bool)[None], len(parts), axis=0)
    for row, part in enumerate(parts):
        first, end = len(part.context), len(part)
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
