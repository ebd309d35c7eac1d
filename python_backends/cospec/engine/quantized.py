"""Int8 weights for CPUs: a forward of few tokens costs what its weights weigh.

For drafters only: what a drafter rounds may cost an accepted token, never a wrong one. In tiles (`tiled_linear.py`) the
inputs are rounded too.
"""

import torch
from torch import Tensor, nn

from cospec.engine.weights import Weights, replace_linears

MOST_TOKENS = 4  # beyond it, the kernel for few tokens is slower than the bfloat16 one


def rounded(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 [out, in], and the float32 scale of each output (symmetric)."""
    exact = weight.float()
    scales = exact.abs().amax(1).clamp(min=1e-8) / 127
    return (exact / scales[:, None]).round().to(torch.int8), scales


class Int8Linear(nn.Module):
    weight: Tensor  # int8 [out, in]
    scales: Tensor  # [out]
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, scales = rounded(linear.weight)
        self.register_buffer("weight", weight)
        self.register_buffer("scales", scales.to(linear.weight.dtype))
        self.register_buffer("bias", linear.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = torch._weight_int8pack_mm(inputs.flatten(0, -2), self.weight, self.scales)
        outputs = outputs.view(*inputs.shape[:-1], -1)
        return outputs if self.bias is None else outputs + self.bias


def quantize(weights: Weights) -> Weights:
    """A copy whose matrices are int8."""
    return replace_linears(weights, Int8Linear)
