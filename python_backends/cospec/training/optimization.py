"""Optimizers and the learning-rate schedule of every training stage."""

import time

import torch
from torch import nn


class Schedule:
    """Progress in [0, 1] by steps or by minutes, whichever is further, so that a run always ends with its decay."""

    def __init__(self, num_steps: int, minutes: float) -> None:
        self._num_steps = num_steps
        self._seconds = minutes * 60
        self._start = time.monotonic()
        self._step = 0

    def advance(self) -> float:
        """Count a step; returns the progress made."""
        self._step += 1
        return self.progress

    @property
    def progress(self) -> float:
        elapsed = time.monotonic() - self._start
        return min(1.0, max(self._step / self._num_steps, elapsed / self._seconds))

    @property
    def scale(self) -> float:
        """Warm-up over 20 steps, constant, then linear decay over the last 40%."""
        return min(1.0, (self._step + 1) / 20) * min(1.0, max(0.02, (1 - self.progress) / 0.4))


class Optimizer:
    """Muon (arXiv 2502.16982) for the matrices, AdamW for embeddings and norms."""

    def __init__(self, model: nn.Module, learning_rate: float) -> None:
        named = [(name, parameter) for name, parameter in model.named_parameters()]
        matrices = [parameter for name, parameter in named if parameter.ndim == 2 and "embed" not in name]
        others = [parameter for name, parameter in named if parameter.ndim != 2 or "embed" in name]
        self._learning_rate = learning_rate
        self._parameters = [parameter for _, parameter in named]
        self._optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=learning_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
        ]

    def step(self, scale: float) -> None:
        """Clip, apply and clear the gradients, at `scale` times the peak learning rate."""
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self._learning_rate * scale
            optimizer.step()
            optimizer.zero_grad()
