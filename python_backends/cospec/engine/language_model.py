"""The forward pass: rows of unequal length, over the static KV cache, with explicit positions and visibility.

A row is one session's next tokens: context, then draft nodes. A chain, a tree and a piece of prompt differ only in the
mask. What transformers spends between the matrices (1 ms a layer on a CPU) is left out here; the arithmetic is its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cospec.engine.kv_cache import Entries, KVCache
from cospec.engine.weights import Layer, Weights


@dataclass(frozen=True)
class Block:
    """One forward's input, rows sorted by slot and padded to one width."""

    tokens: Tensor  # int64 [rows, width]
    positions: Tensor  # int64 [rows, width]: siblings share one
    slots: Sequence[int]
    cache_positions: Tensor  # int64 [rows, width]: distinct in a row; `max_length` for padding
    longest: int  # one past the highest entry that any row reads
    hidden_entries: Tensor | None = None  # bool [rows, width, longest]: earlier entries that a node must not see


class LanguageModel:
    def __init__(self, weights: Weights, num_slots: int, max_length: int) -> None:
        self.weights = weights
        shape = weights.architecture
        self.cache = KVCache(shape.num_layers, num_slots, max_length, shape.kv_heads, shape.head_dim, weights.embedding)
        self._norm_shape = (shape.hidden_size,)
        self._columns = torch.arange(max_length, device=self.device)

    @property
    def device(self) -> torch.device:
        return self.weights.embedding.device

    @property
    def end_tokens(self) -> tuple[int, ...]:
        return self.weights.architecture.end_tokens

    @property
    def max_length(self) -> int:
        return self.cache.max_length

    @torch.inference_mode()
    def forward(self, block: Block) -> Tensor:
        """Hidden states [rows, width, hidden], ready for `logits`; writes the block's entries into the cache."""
        entries = self.cache.select(block.slots, block.cache_positions, block.longest)
        mask = self._mask(block, entries)
        cosines = self.weights.cosines[block.positions][:, :, None]
        sines = self.weights.sines[block.positions][:, :, None]
        hidden = F.embedding(block.tokens, self.weights.embedding)
        for index, layer in enumerate(self.weights.layers):
            hidden = hidden + self._attend(index, layer, hidden, cosines, sines, entries, mask)
            hidden = hidden + self._transform(layer, hidden)
        return self._norm(hidden, self.weights.final_norm)

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """float32 [..., vocab]."""
        return self.weights.head(hidden).float()

    def _norm(self, hidden: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(hidden, self._norm_shape, weight, self.weights.architecture.norm_epsilon)

    def _attend(
        self,
        index: int,
        layer: Layer,
        hidden: Tensor,
        cosines: Tensor,
        sines: Tensor,
        entries: Entries,
        mask: Tensor | None,
    ) -> Tensor:
        shape = self.weights.architecture
        rows, width, _ = hidden.shape
        heads = layer.qkv(self._norm(hidden, layer.attention_norm)).view(rows, width, -1, shape.head_dim)
        rotated, values = heads.split([shape.query_heads + shape.kv_heads, shape.kv_heads], dim=2)
        if layer.query_key_norm is not None:
            rotated = F.rms_norm(rotated, (shape.head_dim,), None, shape.norm_epsilon) * layer.query_key_norm
        # The sines carry the signs of the rotated halves, so that one roll does what negating and joining would.
        rotated = torch.addcmul(rotated * cosines, torch.roll(rotated, shape.head_dim // 2, -1), sines)
        queries, keys = rotated.split([shape.query_heads, shape.kv_heads], dim=2)
        self.cache.write(index, entries, torch.cat([keys, values], dim=2))
        attended = self._attention(queries, index, entries, mask)
        return layer.output(attended)

    def _attention(self, queries: Tensor, index: int, entries: Entries, mask: Tensor | None) -> Tensor:
        """The query heads of one KV head stand in one query sequence, so that keys and values are read once."""
        rows, width, heads, head_dim = queries.shape
        kv_heads = self.weights.architecture.kv_heads
        group = heads // kv_heads
        keys, values = self.cache.read(index, entries)
        grouped = queries.view(rows, width, kv_heads, group, head_dim).permute(0, 2, 3, 1, 4)
        folded = grouped.reshape(rows, kv_heads, group * width, head_dim)
        attended = F.scaled_dot_product_attention(folded, keys, values, attn_mask=mask)
        unfolded = attended.view(rows, kv_heads, group, width, head_dim).permute(0, 3, 1, 2, 4)
        return unfolded.reshape(rows, width, heads * head_dim)

    def _transform(self, layer: Layer, hidden: Tensor) -> Tensor:
        gate, up = layer.gate_up(self._norm(hidden, layer.mlp_norm)).chunk(2, dim=-1)
        return layer.down(F.silu(gate).mul_(up))

    def _mask(self, block: Block, entries: Entries) -> Tensor | None:
        """Additive [rows, 1, group * width, length]: 0 where an entry is seen, -inf elsewhere; None: all are seen."""
        shape = self.weights.architecture
        if block.tokens.numel() == 1 and entries.length == block.longest and shape.sliding_window is None:
            return None
        columns = self._columns[: entries.length]
        unseen = columns > block.cache_positions[:, :, None]
        if block.hidden_entries is not None:
            unseen[:, :, : block.longest] |= block.hidden_entries
        if shape.sliding_window is not None:
            # In a tree, an entry's index runs ahead of its position by less than the tree's size: entries that far back
            # are committed ones, whose index is their position.
            unseen |= columns <= block.positions[:, :, None] - shape.sliding_window
        mask = torch.zeros(unseen.shape, dtype=self.weights.embedding.dtype, device=self.device)
        mask.masked_fill_(unseen, -torch.inf)
        group = shape.query_heads // shape.kv_heads
        return mask.repeat(1, group, 1)[:, None] if block.tokens.shape[1] > 1 else mask[:, None]
