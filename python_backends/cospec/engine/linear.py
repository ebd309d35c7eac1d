"""Matrices of the forward pass. On a CPU, weights are repacked once into oneDNN's own layout: a step at low batch
streams every weight from memory, and streams the packed layout about 1.5 times as fast.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Linear = Callable[[Tensor], Tensor]  # [..., in] -> [..., out]

PACKED_BATCH = 8  # the number of rows for which oneDNN chooses its layout


def prepare_linear(weight: Tensor, bias: Tensor | None = None) -> Linear:
    """`weight` [out, in], `bias` [out]."""
    if weight.device.type == "cpu" and weight.dtype == torch.bfloat16 and torch.backends.mkldnn.is_available():
        return _packed(weight, bias)
    return lambda inputs: F.linear(inputs, weight, bias)


def _packed(weight: Tensor, bias: Tensor | None) -> Linear:
    operations = torch.ops.mkldnn
    packed = operations._reorder_linear_weight(weight.contiguous(), PACKED_BATCH)
    return lambda inputs: operations._linear_pointwise(inputs, packed, bias, "none", [], "")
