"""A model and its KV cache: one forward over a block of rows, eagerly or by a compiled artefact."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cospec.engine.compiled import Compiled
from cospec.engine.forward import Block, Forward, Step
from cospec.engine.kv_cache import KVCache
from cospec.engine.weights import Weights


class LanguageModel:
    def __init__(self, model: Weights | Compiled, num_slots: int, max_length: int) -> None:
        self.architecture = model.architecture
        self.device = model.device
        self.cache = KVCache(model, num_slots, max_length)
        self._step: Step = model.step if isinstance(model, Compiled) else Forward(model)
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

    def tensors(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, ...]:
        """int64 on the model's device, by one copy."""
        joined = np.asarray([*chain.from_iterable(rows)], dtype=np.int64)
        return self.tensor(joined).split([len(row) for row in rows])

    @torch.inference_mode()
    def logits(self, block: Block) -> Tensor:
        """float32 [wanted, vocab]; writes the block's entries into the cache."""
        return self._step(block, self.cache.layers)
