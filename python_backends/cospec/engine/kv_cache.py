"""The static KV cache: every session owns one slot for as long as it lives."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cospec.engine.weights import Described

Move = tuple[int, int, int]  # slot, the entry that is copied, where to
LENGTH_BUCKET = 64  # on a GPU attention reads whole buckets, so that few shapes occur


class KVCache:
    """Per layer [slots, max_length + 1, 2 * kv_heads, head_dim]: keys, then values.

    The last entry of a slot takes what padding writes.
    """

    def __init__(self, weights: Described, num_slots: int, max_length: int) -> None:
        self.num_slots = num_slots
        self.max_length = max_length
        model, device = weights.architecture, weights.device
        shape = (model.num_layers, num_slots, max_length + 1, 2 * model.kv_heads, model.head_dim)
        self._entries = torch.zeros(shape, dtype=weights.dtype, device=device)
        self.layers = list(self._entries.unbind())
        self._columns = torch.arange(max_length, device=device)
        self._bucket = LENGTH_BUCKET if device.type == "cuda" else 1

    def columns(self, longest: int) -> Tensor:
        """Indices of the entries to read, when no row reads entries at or beyond `longest`."""
        return self._columns[: -(-longest // self._bucket) * self._bucket]

    def move(self, moves: Sequence[Move]) -> None:
        """In all layers, as if all at the same time: accepted paths are committed."""
        if not moves:
            return
        slots, sources, targets = torch.tensor(moves, device=self._columns.device).unbind(1)
        self._entries[:, slots, targets] = self._entries[:, slots, sources]
