"""Logits to scores whose maximum is a sample: temperature, top-k, then top-p within it, and Gumbel noise.

In PyTorch's operators, for any device; where the kernels for CPUs are loaded (`kernels.py`), `perturb.cpp` is called
instead.
"""

import torch
from torch import Tensor

from cospec.engine.noise import gumbel_noise


def composite_perturb(
    logits: Tensor,
    temperature: Tensor,
    top_k: Tensor | None,
    top_p: Tensor | None,
    seeds: Tensor,
    positions: Tensor,
) -> Tensor:
    """float32 [N, V] of `logits` float32 [N, V]; the other tensors [N], `seeds` and `positions` int64.

    A row of temperature 0 is left as it is; -inf outside the support, in which the most probable token always stays.
    """
    greedy = (temperature == 0)[:, None]
    scaled = logits / temperature[:, None].masked_fill(greedy, 1.0)
    noisy = _restrict(scaled, top_k, top_p) + gumbel_noise(seeds, positions, logits.shape[-1])
    return torch.where(greedy, logits, noisy)


def _restrict(scaled: Tensor, top_k: Tensor | None, top_p: Tensor | None) -> Tensor:
    if top_k is None and top_p is None:
        return scaled
    ordered, order = scaled.sort(dim=-1, descending=True, stable=True)
    rank = torch.arange(scaled.shape[-1], device=scaled.device)
    if top_k is not None:
        limit = top_k.masked_fill(top_k == 0, scaled.shape[-1])
        ordered = ordered.masked_fill(rank >= limit[:, None], -torch.inf)
    if top_p is not None:
        probabilities = ordered.softmax(-1)
        before = probabilities.cumsum(-1) - probabilities
        share = top_p.masked_fill(top_p == 1, torch.inf)[:, None]  # sums are rounded: even 1 may be reached too soon
        ordered = ordered.masked_fill((before >= share) & (rank > 0), -torch.inf)
    return torch.empty_like(scaled).scatter_(-1, order, ordered)


NAME = "cospec::perturb"
perturb = torch.library.custom_op(NAME, composite_perturb, mutates_args=())
