"""Attention over rows of unequal length, for CPUs: the operator, whose code is `ragged_attention.cpp`."""

import torch
from torch import Tensor

NAME = "cospec::ragged_attention"

torch.library.define(
    NAME,
    "(Tensor queries, Tensor cache, Tensor slots, Tensor starts, Tensor positions, Tensor places, Tensor relatives, "
    "int window) -> Tensor",
)


@torch.library.register_fake(NAME)
def _like_its_queries(queries: Tensor, *others: object) -> Tensor:
    return torch.empty_like(queries)


def ragged_attention(
    queries: Tensor,
    cache: Tensor,
    slots: Tensor,
    starts: Tensor,
    positions: Tensor,
    places: Tensor,
    relatives: Tensor,
    window: int | None,
) -> Tensor:
    """`queries` [tokens, heads, head_dim] over `cache` [slots, entries, 2 * kv heads, head_dim]; the rest is `Block`'s.

    `window`: of sliding attention. Returns [tokens, heads, head_dim]. The kernels must have been loaded.
    """
    attended: Tensor = torch.ops.cospec.ragged_attention(
        queries, cache, slots, starts, positions, places, relatives, window or 0
    )
    return attended
