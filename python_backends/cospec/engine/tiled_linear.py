"""Matrix products in tiles: the operator, whose code is `tiled_linear.cpp`, and weights in the layout it reads.

By AMX, or by AVX-512's instructions for bfloat16 and int8, which take the same layout: a line of a tile is one of their
operands. For forwards of few tokens it is faster than oneDNN (`operators.py`), and a token's outputs do not depend on
what else is in the batch, so that in bfloat16 too a request's text is the same alone and among others.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospec.engine.quantized import rounded
from cospec.engine.weights import Weights, replace_linears

NAME = "cospec::tiled_linear"
SIDE = 16  # outputs of a tile
LINE = 64  # bytes of its inputs
WORD = 4  # bytes of inputs that stand together

torch.library.define(NAME, "(Tensor inputs, Tensor weights, Tensor? scales, Tensor? bias, int num_outputs) -> Tensor")


@torch.library.register_fake(NAME)
def _of_as_many_tokens(
    inputs: Tensor, weights: Tensor, scales: Tensor | None, bias: Tensor | None, num_outputs: int
) -> Tensor:
    return inputs.new_empty((inputs.shape[0], num_outputs))


class TiledLinear(nn.Module):
    """bfloat16 [tokens, in] to [tokens, out]. The kernels must have been loaded."""

    weight: Tensor  # what `tiles` makes, bfloat16 or int8
    scales: Tensor | None  # float32 [out], of int8
    bias: Tensor | None

    def __init__(self, linear: nn.Linear, quantized: bool = False) -> None:
        """`quantized`: to int8, as each token's inputs then are."""
        super().__init__()
        self.num_outputs = linear.out_features
        weight, scales = rounded(linear.weight) if quantized else (linear.weight, None)
        self.register_buffer("weight", tiles(weight))
        self.register_buffer("scales", scales)
        self.register_buffer("bias", linear.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = torch.ops.cospec.tiled_linear(inputs, self.weight, self.scales, self.bias, self.num_outputs)
        return outputs


def tiles(weight: Tensor) -> Tensor:
    """[out, in] to [panels of two tiles of outputs, tiles of inputs, 2, LINE / WORD, SIDE, inputs of a word].

    The last tiles are filled up with zeros.
    """
    num_outputs, num_inputs = weight.shape
    word, line = WORD // weight.itemsize, LINE // weight.itemsize
    padded = F.pad(weight, (0, -num_inputs % line, 0, -num_outputs % (2 * SIDE)))
    shape = (-1, 2, SIDE, padded.shape[1] // line, line // word, word)
    return padded.view(shape).permute(0, 3, 1, 4, 2, 5).contiguous()


def tiled(weights: Weights, quantized: bool = False) -> Weights:
    """A copy whose bfloat16 matrices are in tiles."""
    return replace_linears(
        weights, lambda each: TiledLinear(each, quantized) if each.weight.dtype == torch.bfloat16 else None
    )
