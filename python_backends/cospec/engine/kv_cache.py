"""The static KV cache: every session owns one slot for as long as it lives."""

from collections.abc import Sequence

import torch
from torch import Tensor

LENGTH_BUCKET = 64  # on a GPU attention reads whole buckets, so that few shapes occur


class KVCache:
    """Per layer [slots, max_length + 1, 2 * kv_heads, head_dim]: keys, then values.

    The last entry of a slot takes what padding writes.
    """

    def __init__(
        self, num_layers: int, num_slots: int, max_length: int, kv_heads: int, head_dim: int, like: Tensor
    ) -> None:
        self.num_slots = num_slots
        self.max_length = max_length
        shape = (num_slots, max_length + 1, 2 * kv_heads, head_dim)
        self.layers = [torch.zeros(shape, dtype=like.dtype, device=like.device) for _ in range(num_layers)]
        self._columns = torch.arange(max_length, device=like.device)
        self._bucket = LENGTH_BUCKET if like.is_cuda else 1

    def columns(self, longest: int) -> Tensor:
        """Indices of the entries to read, when no row reads entries at or beyond `longest`."""
        return self._columns[: -(-longest // self._bucket) * self._bucket]

    def move(self, slot: int, sources: Sequence[int], target: int) -> None:
        """Copy the entries at `sources` to `target` and following, in all layers: an accepted path is committed."""
        index = torch.tensor(sources, device=self._columns.device)
        for layer in self.layers:
            layer[slot, target : target + len(sources)] = layer[slot].index_select(0, index)
