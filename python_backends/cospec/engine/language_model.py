"""A model and its KV cache: one forward over a block of rows, eagerly or by a compiled artefact."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from cospec.engine.forward import Block, Forward
from cospec.engine.kv_cache import KVCache
from cospec.engine.weights import Weights

Step = Callable[[Block, Sequence[Tensor]], Tensor]  # what `Forward.forward` does


class LanguageModel:
    def __init__(self, weights: Weights, num_slots: int, max_length: int, step: Step | None = None) -> None:
        """`step`: a compiled `Forward` of these weights."""
        self.architecture = weights.architecture
        self.device = weights.embedding.device
        shape = self.architecture
        self.cache = KVCache(shape.num_layers, num_slots, max_length, shape.kv_heads, shape.head_dim, weights.embedding)
        self._step = step or Forward(weights)
        self.rows = torch.arange(num_slots, device=self.device)
        self.alone = torch.ones((num_slots, 1, 1), dtype=torch.bool, device=self.device)

    @property
    def end_tokens(self) -> tuple[int, ...]:
        return self.architecture.end_tokens

    @property
    def max_length(self) -> int:
        return self.cache.max_length

    def tensor(self, array: NDArray[Any]) -> Tensor:
        """On the model's device."""
        return torch.from_numpy(array).to(self.device)

    @torch.inference_mode()
    def logits(self, block: Block) -> Tensor:
        """float32 [wanted, vocab]; writes the block's entries into the cache."""
        return self._step(block, self.cache.layers)
