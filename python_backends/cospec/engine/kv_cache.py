"""The static KV cache: every session owns one slot for as long as it lives."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LENGTH_BUCKET = 64  # on a GPU attention reads whole buckets, so that few shapes occur


@dataclass(frozen=True)
class Entries:
    """Which part of the cache a forward reads and writes."""

    slots: Tensor  # int64 [rows]
    dense_from: int | None  # the rows' slots are this and the following ones, in order
    positions: Tensor  # int64 [rows, width]: where each token's entry goes
    length: int  # entries at and beyond this are read by no row


class KVCache:
    """[layers, slots, max_length + 1, 2 * kv_heads, head_dim]: keys, then values.

    The last entry of a slot takes what padding writes.
    """

    def __init__(
        self, num_layers: int, num_slots: int, max_length: int, kv_heads: int, head_dim: int, like: Tensor
    ) -> None:
        self.num_slots = num_slots
        self.max_length = max_length
        self._kv_heads = kv_heads
        self._entries = like.new_zeros(num_layers, num_slots, max_length + 1, 2 * kv_heads, head_dim)

    def select(self, slots: Sequence[int], positions: Tensor, longest: int) -> Entries:
        """`longest`: one past the highest entry that any row reads."""
        dense = all(slot == slots[0] + offset for offset, slot in enumerate(slots))
        bucket = LENGTH_BUCKET if self._entries.is_cuda else 1
        rounded = -(-longest // bucket) * bucket
        return Entries(
            torch.tensor(slots, device=self._entries.device),
            slots[0] if dense else None,
            positions,
            min(rounded, self.max_length),
        )

    def write(self, layer: int, entries: Entries, keys_and_values: Tensor) -> None:
        """`keys_and_values` [rows, width, 2 * kv_heads, head_dim]."""
        self._entries[layer].index_put_((entries.slots[:, None], entries.positions), keys_and_values)

    def read(self, layer: int, entries: Entries) -> tuple[Tensor, Tensor]:
        """Keys and values, each [rows, kv_heads, length, head_dim]; a view when the slots are dense."""
        cached = self._entries[layer, :, : entries.length]
        if entries.dense_from is None:
            rows = cached.index_select(0, entries.slots)
        else:
            rows = cached.narrow(0, entries.dense_from, len(entries.slots))
        keys, values = rows.transpose(1, 2).split(self._kv_heads, dim=1)
        return keys, values

    def move(self, slot: int, sources: Sequence[int], target: int) -> None:
        """Copy the entries at `sources` to `target` and following, in all layers: an accepted path is committed."""
        index = torch.tensor(sources, device=self._entries.device)
        self._entries[:, slot, target : target + len(sources)] = self._entries[:, slot].index_select(1, index)
