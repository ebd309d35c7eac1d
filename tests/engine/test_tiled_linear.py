"""Products in tiles are the products, for every shape, and the same to the bit in every company."""

import pytest
import torch
from cospec.engine.quantized import rounded
from cospec.engine.tiled_linear import TiledLinear
from tiny import needs_tiles
from torch import Tensor, nn

pytestmark = [pytest.mark.usefixtures("loaded_kernels"), needs_tiles]


def layer(num_inputs: int, num_outputs: int, bias: bool = False) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(num_inputs, num_outputs, bias=bias, dtype=torch.bfloat16)


def random(tokens: int, width: int) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(tokens, width, dtype=torch.bfloat16)


@pytest.mark.parametrize("tokens", [1, 15, 16, 17, 31, 32, 33, 49, 100])
@pytest.mark.parametrize("num_inputs, num_outputs", [(64, 64), (40, 7), (33, 97), (1700, 50)])
@pytest.mark.parametrize("bias", [False, True])
@torch.inference_mode()
def test_outputs_are_the_sums_rounded_once(tokens: int, num_inputs: int, num_outputs: int, bias: bool) -> None:
    linear, inputs = layer(num_inputs, num_outputs, bias), random(tokens, num_inputs)
    exact = nn.functional.linear(inputs.double(), linear.weight.double(), linear.bias.double() if bias else None)
    torch.testing.assert_close(TiledLinear(linear)(inputs).double(), exact, rtol=2**-8, atol=1e-3)


@pytest.mark.parametrize("tokens", [1, 16, 17, 33, 100])
@pytest.mark.parametrize("num_inputs, num_outputs", [(64, 64), (40, 7), (131, 97), (3300, 50)])
@pytest.mark.parametrize("bias", [False, True])
@torch.inference_mode()
def test_int8_outputs_are_the_sums_of_rounded_weights_and_rounded_inputs(
    tokens: int, num_inputs: int, num_outputs: int, bias: bool
) -> None:
    linear, inputs = layer(num_inputs, num_outputs, bias), random(tokens, num_inputs)
    weight, scales = rounded(linear.weight)
    peaks = inputs.float().abs().amax(1, keepdim=True)
    integers = (inputs.float() * torch.full_like(peaks, 127).div(peaks)).round()
    exact = (integers.double() @ weight.double().T) * (peaks / 127) * scales + (linear.bias.double() if bias else 0)
    torch.testing.assert_close(TiledLinear(linear, True)(inputs).double(), exact, rtol=2**-7, atol=1e-3)


@torch.inference_mode()
def test_int8_of_a_token_that_is_all_zero_is_zero() -> None:
    inputs = random(3, 100)
    inputs[1] = 0
    outputs = TiledLinear(layer(100, 40), quantized=True)(inputs)
    assert outputs.isfinite().all() and not outputs[1].any() and outputs[0].all()


@pytest.mark.parametrize("quantized", [False, True])
@torch.inference_mode()
def test_a_token_is_the_same_to_the_bit_in_every_company(quantized: bool) -> None:
    linear, inputs = TiledLinear(layer(3200, 6000), quantized), random(300, 3200)
    together = linear(inputs)
    for first, end in ((0, 1), (17, 18), (30, 47), (64, 128), (5, 299)):
        assert torch.equal(linear(inputs[first:end]), together[first:end])


@torch.inference_mode()
def test_other_libraries_find_the_tiles_as_they_left_them() -> None:
    ours, theirs, inputs = TiledLinear(layer(512, 512)), layer(512, 512), random(64, 512)
    before = theirs(inputs)
    for _ in range(20):
        ours(inputs[:3])
        assert torch.equal(theirs(inputs), before)
