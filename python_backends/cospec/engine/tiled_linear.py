"""Matrix products on AMX tiles: the operator, whose code is `tiled_linear.cpp`, and weights in the layout it reads.

For forwards of few tokens it is faster than oneDNN (`operators.py`), and a token's outputs do not depend on what else
is in the batch, so that in bfloat16 too a request's text is the same alone and among others.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospec.engine.weights import Weights, replace_linears

NAME = "cospec::tiled_linear"
SIDE = 16  # outputs of a tile
DEPTH = 32  # inputs of one

torch.library.define(NAME, "(Tensor inputs, Tensor weights, Tensor? bias, int num_outputs) -> Tensor")


@torch.library.register_fake(NAME)
def _of_as_many_tokens(inputs: Tensor, weights: Tensor, bias: Tensor | None, num_outputs: int) -> Tensor:
    return inputs.new_empty((inputs.shape[0], num_outputs))


class TiledLinear(nn.Module):
    """bfloat16 [tokens, in] to [tokens, out]. The kernels must have been loaded."""

    weight: Tensor  # what `tiles` makes
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.num_outputs = linear.out_features
        self.register_buffer("weight", tiles(linear.weight))
        self.register_buffer("bias", linear.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = torch.ops.cospec.tiled_linear(inputs, self.weight, self.bias, self.num_outputs)
        return outputs


def tiles(weight: Tensor) -> Tensor:
    """[out, in] to [panels of two tiles of outputs, tiles of inputs, 2, DEPTH / 2, SIDE, 2]; the last are filled up."""
    num_outputs, num_inputs = weight.shape
    padded = F.pad(weight, (0, -num_inputs % DEPTH, 0, -num_outputs % (2 * SIDE)))
    shape = (-1, 2, SIDE, padded.shape[1] // DEPTH, DEPTH // 2, 2)
    return padded.view(shape).permute(0, 3, 1, 4, 2, 5).contiguous()


def tiled(weights: Weights) -> Weights:
    """A copy whose bfloat16 matrices are in tiles."""
    return replace_linears(weights, lambda each: TiledLinear(each) if each.weight.dtype == torch.bfloat16 else None)
