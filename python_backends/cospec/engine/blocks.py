"""Sessions' pending tokens to one `Block`: padding, positions, and what a draft node may see."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise

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
    def tokens(self) -> list[int]:
        return [*self.context.tolist(), *self.tree.tokens]

    @property
    def positions(self) -> list[int]:
        """A node's depth says how far behind the context its text position is."""
        last = self.first_node - 1
        return [*range(self.start, self.first_node), *(last + depth for depth in self.tree.node_depths())]

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
    """`wanted`: for each part, the columns whose logits are asked for; by default its `choices`.

    Lists, and one array of them all: NumPy's calls for a few numbers each cost more, by far with cold caches.
    """
    width = max(map(len, parts))
    firsts = [*accumulate(map(len, parts), initial=0)]  # each row's first token
    columns = wanted or [part.choices for part in parts]
    tokens, positions, entries, places, sources, slots, starts, chosen = model.tensors(
        [
            _joined(part.tokens for part in parts),
            _joined(part.positions for part in parts),
            _joined(range(part.start, part.end) for part in parts),
            _joined(range(row * width, row * width + len(part)) for row, part in enumerate(parts)),
            _joined(_padded(range(first, end), width) for first, end in pairwise(firsts)),
            [part.slot for part in parts],
            [part.start for part in parts],
            _joined(range(first + own.start, first + own.stop) for first, own in zip(firsts, columns, strict=False)),
        ]
    )
    relatives, read = model.tensor(_relatives(parts, width)), model.cache.columns(max(part.end for part in parts))
    by_row = sources.unflatten(0, (len(parts), width))
    return Block(tokens, positions, entries, places, by_row, slots, starts, relatives, read, chosen)


def _joined(rows: Iterable[Iterable[int]]) -> list[int]:
    return [*chain.from_iterable(rows)]


def _padded(tokens: range, width: int) -> list[int]:
    """To `width`, by its last."""
    return [*tokens, *[tokens[-1]] * (width - len(tokens))]


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
