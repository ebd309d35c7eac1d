"""Gumbel noise from a counter-based hash of (seed, position, token).

Whoever computes it, verifier or drafter, on whatever device and in whatever batch, gets the same noise: a sampled token
is then a function of the logits alone, and a draft can match it (drafter-invariant coupling, arXiv 2408.07978).
The hash is integer arithmetic below 2**63; multipliers stay below 2**31 so that no product overflows.
"""

import torch
from torch import Tensor

_MASK = 0xFFFF_FFFF


def hash_counters(seeds: Tensor, positions: Tensor, vocab_size: int) -> Tensor:
    """int64 [N, vocab_size], uniform in [0, 2**32). `seeds` [N]: uint64 as the int64 of the same bits."""
    low, high = seeds & _MASK, (seeds >> 32) & _MASK
    key = _mix(_mix(_mix(low) ^ high) ^ positions)
    tokens = torch.arange(vocab_size, device=seeds.device)
    return _mix(_mix(tokens ^ key[:, None]) ^ _mix(key ^ 0x5BD1_E995)[:, None])


def gumbel_noise(seeds: Tensor, positions: Tensor, vocab_size: int) -> Tensor:
    """float32 [N, vocab_size]: -log(-log u), u from the hash, never 0 or 1."""
    uniform = (hash_counters(seeds, positions, vocab_size).to(torch.float64) + 0.5) / 2**32
    return uniform.log_().neg_().log_().neg_().to(torch.float32)


def _mix(value: Tensor) -> Tensor:
    """A bijection of 32 bits whose every output bit depends on every input bit."""
    value = value ^ (value >> 16)
    value = (value * 0x2C1B_3C6D) & _MASK
    value = value ^ (value >> 12)
    value = (value * 0x297A_2D39) & _MASK
    return value ^ (value >> 15)
