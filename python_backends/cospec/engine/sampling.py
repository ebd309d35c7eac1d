"""Sample and match: the one rule by which verifier and drafters choose a token.

y_t = argmax_v(logits_v / T + G(seed, t, v)) over the support left by top-k, then top-p; T = 0: plain argmax.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from cospec.engine.perturb import perturb
from cospec.speculation.types import SamplingParameters


class SamplingBatch(NamedTuple):
    """Parameters of N choices, each tensor [N]; `None` where no row needs the rule."""

    temperature: Tensor | None
    top_k: Tensor | None
    top_p: Tensor | None
    seeds: Tensor | None
    eos_allowed_from: Tensor | None

    @staticmethod
    def from_parameters(rows: Sequence[SamplingParameters], device: torch.device) -> "SamplingBatch":
        def tensor(values: list[float] | list[int], dtype: torch.dtype, needed: bool) -> Tensor | None:
            return torch.tensor(values, dtype=dtype, device=device) if needed else None

        if not any(row.temperature > 0 or row.eos_allowed_from for row in rows):
            return SamplingBatch(None, None, None, None, None)
        sampled = any(row.temperature > 0 for row in rows)
        seeds = np.asarray([row.seed for row in rows], dtype=np.uint64).view(np.int64).tolist()
        return SamplingBatch(
            tensor([row.temperature for row in rows], torch.float32, sampled),
            tensor([row.top_k for row in rows], torch.int64, sampled and any(row.top_k for row in rows)),
            tensor([row.top_p for row in rows], torch.float32, sampled and any(row.top_p < 1 for row in rows)),
            tensor(seeds, torch.int64, sampled),
            tensor([row.eos_allowed_from for row in rows], torch.int64, any(row.eos_allowed_from for row in rows)),
        )

    def first(self, count: int) -> "SamplingBatch":
        """Of the first `count` rows."""
        return SamplingBatch(*(None if tensor is None else tensor[:count] for tensor in self))


def choose_tokens(logits: Tensor, positions: Tensor, sampling: SamplingBatch, end_tokens: Sequence[int]) -> Tensor:
    """int64 [N]: the token at each absolute position. `logits` [N, V] is float32 and may be overwritten."""
    return noisy_scores(logits, positions, sampling, end_tokens).argmax(-1)


def noisy_scores(logits: Tensor, positions: Tensor, sampling: SamplingBatch, end_tokens: Sequence[int]) -> Tensor:
    """float32 [N, V]: what the chosen token maximises. `logits` [N, V] is float32 and may be overwritten."""
    if sampling.eos_allowed_from is not None:
        _ban_end(logits, positions < sampling.eos_allowed_from, end_tokens)
    if sampling.temperature is None or sampling.seeds is None:
        return logits
    scores: Tensor = perturb(logits, sampling.temperature, sampling.top_k, sampling.top_p, sampling.seeds, positions)
    return scores


def margins(best: Tensor) -> Tensor:
    """How far each of the best scores [..., C >= 2], descending, is ahead of the best other one; negative: behind."""
    ahead = best - best[..., :1]
    ahead[..., 0] = best[..., 0] - best[..., 1]
    return ahead


def _ban_end(logits: Tensor, rows: Tensor, end_tokens: Sequence[int]) -> None:
    for token in end_tokens:
        logits[:, token].masked_fill_(rows, -torch.inf)
