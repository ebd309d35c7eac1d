"""The forward pass: rows of unequal length over the static KV cache, with explicit positions and visibility.

A row is one session's next tokens: context, then draft nodes. A chain, a tree and a piece of prompt differ only in
what their tokens see of each other. What transformers spends between the matrices (1 ms a layer on a CPU) is left out
here. The sum that runs through the layers is float32 whatever the weights are, and so are the verifier's logits
(`head_dtype`): it costs nothing, and bfloat16 logits tie at one token in sixty, where the shape of a batch would then
decide. Tensors in, tensors out, no Python state: the same function runs eagerly and compiled.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospec.engine.ragged_attention import ragged_attention
from cospec.engine.weights import Layer, Weights

Attention: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Of queries [tokens, heads, head_dim] over one layer's cache: [tokens, heads, head_dim]."""


class Block(NamedTuple):
    """One forward's input: the tokens of all rows, one row after another.

    Rows differ in width, and only padded attention makes them one: the matrices, where the time goes, see real tokens.
    """

    tokens: Tensor  # int64 [tokens]
    positions: Tensor  # int64 [tokens]: siblings share one
    cache_positions: Tensor  # int64 [tokens]: distinct in a row
    places: Tensor  # int64 [tokens]: row * width + column of each
    sources: Tensor  # int64 [rows, width]: the token of each place; any where there is none
    slots: Tensor  # int64 [rows]
    starts: Tensor  # int64 [rows]: where visibility is given by `relatives`; all earlier entries are seen
    relatives: Tensor  # bool [rows, width, span]: which of the entries from `starts` on a token sees
    columns: Tensor  # int64 [length]: 0, 1, ..: the entries that are read at all
    wanted: Tensor  # int64 [wanted]: the tokens whose logits are asked for


Step: TypeAlias = Callable[[Block, Sequence[Tensor]], Tensor]
"""What `Forward.forward` does, compiled or not."""


class Forward(nn.Module):
    def __init__(self, weights: Weights, ragged: bool = False) -> None:
        """`ragged`: attention by the operator for CPUs, which must be loaded, not by PyTorch's own on padded rows."""
        super().__init__()
        self.weights = weights
        self._ragged = ragged

    def forward(self, block: Block, caches: Sequence[Tensor]) -> Tensor:
        """float32 logits [wanted, vocab]; writes the block's entries into `caches`, one per layer:
        [slots, max_length + 1, 2 * kv heads, head_dim], keys before values."""
        weights = self.weights
        attention = self._ragged_attention(block) if self._ragged else self._padded_attention(block)
        rotation = weights.cosines[block.positions][:, None], weights.sines[block.positions][:, None]
        where = block.slots[block.places // block.sources.shape[1]], block.cache_positions
        hidden = F.embedding(block.tokens, weights.embedding).float()
        for layer, cache in zip(weights.layers, caches, strict=True):
            assert isinstance(layer, Layer)
            queries, entries = self._project(layer, hidden, rotation)
            cache.index_put_(where, entries)
            hidden = hidden + layer.output(attention(queries, cache).flatten(1))
            hidden = hidden + self._transform(layer, hidden)
        logits: Tensor = weights.head(self._norm(hidden[block.wanted], weights.final_norm))
        return logits.float()

    def _norm(self, hidden: Tensor, weight: Tensor) -> Tensor:
        scale = torch.rsqrt(hidden.square().mean(-1, keepdim=True) + self.weights.architecture.norm_epsilon)
        return (hidden * scale).to(weight.dtype) * weight

    def _project(self, layer: Layer, hidden: Tensor, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Queries [tokens, heads, head_dim], and what is to be cached [tokens, 2 * kv heads, head_dim]."""
        shape = self.weights.architecture
        heads = layer.qkv(self._norm(hidden, layer.attention_norm)).unflatten(-1, (-1, shape.head_dim))
        rotated, values = heads.split([shape.query_heads + shape.kv_heads, shape.kv_heads], dim=1)
        if layer.query_key_norm is not None:
            rotated = F.rms_norm(rotated, (shape.head_dim,), None, shape.norm_epsilon) * layer.query_key_norm
        # The sines carry the signs of the rotated halves, so that one roll does what negating and joining would.
        cosines, sines = rotation
        rotated = rotated * cosines + torch.roll(rotated, shape.head_dim // 2, -1) * sines
        queries, keys = rotated.split([shape.query_heads, shape.kv_heads], dim=1)
        return queries, torch.cat([keys, values], dim=1)

    def _ragged_attention(self, block: Block) -> Attention:
        where = (block.slots, block.starts, block.positions, block.places, block.relatives)
        window = self.weights.architecture.sliding_window
        return lambda queries, cache: ragged_attention(queries, cache, *where, window)

    def _padded_attention(self, block: Block) -> Attention:
        return partial(self._attend_padded, block, self._mask(block))

    def _attend_padded(self, block: Block, mask: Tensor, queries: Tensor, cache: Tensor) -> Tensor:
        """The query heads of one KV head stand in one query sequence, so that keys and values are read once."""
        (rows, width), (_, heads, head_dim) = block.sources.shape, queries.shape
        kv_heads = self.weights.architecture.kv_heads
        group = heads // kv_heads
        entries = cache[:, : block.columns.shape[0]].index_select(0, block.slots).transpose(1, 2)
        keys, values = entries.split(kv_heads, dim=1)
        grouped = queries[block.sources].view(rows, width, kv_heads, group, head_dim).permute(0, 2, 3, 1, 4)
        folded = grouped.reshape(rows, kv_heads, group * width, head_dim)
        attended = F.scaled_dot_product_attention(folded, keys, values, attn_mask=mask)
        unfolded = attended.view(rows, kv_heads, group, width, head_dim).permute(0, 3, 1, 2, 4)
        return unfolded.reshape(rows * width, heads, head_dim)[block.places]

    def _transform(self, layer: Layer, hidden: Tensor) -> Tensor:
        gate, up = layer.gate_up(self._norm(hidden, layer.mlp_norm)).chunk(2, dim=-1)
        transformed: Tensor = layer.down(F.silu(gate) * up)
        return transformed

    def _mask(self, block: Block) -> Tensor:
        """Additive [rows, 1, group * width, length]: 0 where an entry is seen, -inf elsewhere."""
        shape = self.weights.architecture
        rows, width, span = block.relatives.shape
        offsets = block.columns - block.starts[:, None]
        own = offsets.clamp(0, span - 1)[:, None].expand(rows, width, -1)
        seen = (offsets < 0)[:, None] | ((offsets < span)[:, None] & block.relatives.gather(2, own))
        if shape.sliding_window is not None:
            # In a tree, an entry's index runs ahead of its position by less than the tree's size: entries that far back
            # are committed ones, whose index is their position.
            seen = seen & (block.columns > block.positions[block.sources][:, :, None] - shape.sliding_window)
        mask = torch.zeros(seen.shape, dtype=self.weights.embedding.dtype, device=seen.device)
        mask = mask.masked_fill(~seen, -torch.inf)
        return mask.repeat(1, shape.query_heads // shape.kv_heads, 1)[:, None]
