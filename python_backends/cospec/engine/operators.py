"""How long the operators in C++ take on this CPU, beside PyTorch's own, interleaved.

python -m cospec.engine.operators
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cospec.config import load_settings
from cospec.engine.artefacts import kernels
from cospec.engine.benchmark import interleaved
from cospec.engine.kernels import build_kernels, load_kernels
from cospec.engine.perturb import composite_perturb, perturb
from cospec.engine.ragged_attention import ragged_attention
from cospec.engine.tiled_linear import TiledLinear
from cospec.processor import multiplies_in_tiles

TOKENS = (1, 8, 16, 32, 64, 128, 256)
SHAPES = ((768, 12672), (6336, 768))  # inputs and outputs of the 0.3B verifier's MLP
HEADS, KV_HEADS, HEAD_DIM = 12, 6, 64  # the 0.3B verifier's
ATTENDING = ((64, 1, 100), (16, 5, 100), (16, 5, 300), (32, 4, 300), (16, 5, 1000))  # rows, tokens of each, context
ROWS = (1, 12, 32)
VOCABULARIES = (4096, 128256)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m cospec.engine.operators", description=__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--mebibytes", type=int, default=400, help="of weights to multiply by: more than caches keep")
    options = parser.parse_args(arguments)
    torch.set_num_threads(load_settings().engine.verifier.num_threads)
    if not kernels().path.exists():
        build_kernels(kernels().path)
    load_kernels()
    with torch.inference_mode():
        if multiplies_in_tiles():
            _compare_products(options.mebibytes, options.repeats)
        _compare_attention(options.repeats)
        _compare_choices(options.repeats)
    return 0


def _compare_products(mebibytes: int, repeats: int) -> None:
    print(f"tokens   bfloat16 products of {mebibytes} MiB of weights: tiled, PyTorch's (oneDNN)")
    linears = [nn.Linear(*shape, bias=False, dtype=torch.bfloat16) for shape in SHAPES]
    bytes_each = sum(2 * linear.weight.numel() for linear in linears)
    layers = [linear for _ in range(mebibytes * 2**20 // bytes_each) for linear in linears]
    ours = [TiledLinear(linear) for linear in layers]
    theirs = [torch.ops.mkldnn._reorder_linear_weight(linear.weight) for linear in layers]
    for tokens in TOKENS:
        inputs = {width: torch.randn(tokens, width, dtype=torch.bfloat16) for width, _ in SHAPES}
        widths = [linear.in_features for linear in layers]
        _print(tokens, _products(ours, inputs, widths), _products_of_onednn(theirs, inputs, widths), repeats)


def _products(layers: Sequence[TiledLinear], inputs: dict[int, Tensor], widths: Sequence[int]) -> Callable[[], object]:
    return lambda: [layer(inputs[width]) for layer, width in zip(layers, widths, strict=True)]


def _products_of_onednn(
    weights: Sequence[Tensor], inputs: dict[int, Tensor], widths: Sequence[int]
) -> Callable[[], object]:
    multiply = torch.ops.mkldnn._linear_pointwise
    return lambda: [
        multiply(inputs[width], weight, None, "none", [], "") for weight, width in zip(weights, widths, strict=True)
    ]


def _compare_attention(repeats: int) -> None:
    """Of rows of one length, which PyTorch's own needs not even pad."""
    print("tokens   bfloat16 attention: rows where they lie in the cache, PyTorch's on a copy of them")
    for rows, width, context in ATTENDING:
        end, slots = context + width, torch.randperm(rows)
        cache = torch.randn(rows, end, 2 * KV_HEADS, HEAD_DIM, dtype=torch.bfloat16)
        queries = torch.randn(rows * width, HEADS, HEAD_DIM, dtype=torch.bfloat16)
        own, starts = torch.ones(width, width, dtype=torch.bool).tril(), torch.full((rows,), context)
        positions, places = torch.arange(context, end).repeat(rows), torch.arange(rows * width)
        where = slots, starts, positions, places, own.repeat(rows, 1, 1)
        seen = torch.cat([torch.ones(width, context, dtype=torch.bool), own], 1)
        ours = partial(ragged_attention, queries, cache, *where, None)
        _print(
            rows * width,
            ours,
            partial(_padded, queries, cache, slots, seen),
            repeats,
            f"of {rows} rows, {context} before",
        )


def _padded(queries: Tensor, cache: Tensor, slots: Tensor, seen: Tensor) -> Tensor:
    keys, values = cache.index_select(0, slots).transpose(1, 2).split(KV_HEADS, dim=1)
    by_row = queries.unflatten(0, (len(slots), -1)).transpose(1, 2)
    return F.scaled_dot_product_attention(by_row, keys, values, seen, enable_gqa=True)


def _compare_choices(repeats: int) -> None:
    for vocabulary in VOCABULARIES:
        for top_p in (None, 0.9):
            print(f"rows     choices of {vocabulary} at T = 0.7, top_p = {top_p or 1}: one pass, PyTorch's operators")
            for rows in ROWS:
                logits, positions = 3 * torch.randn(rows, vocabulary), torch.arange(rows)
                share = None if top_p is None else torch.full((rows,), top_p)
                rules = logits, torch.full((rows,), 0.7), None, share, positions, positions
                _print(rows, partial(perturb, *rules), partial(composite_perturb, *rules), repeats)


def _print(
    count: int, ours: Callable[[], object], theirs: Callable[[], object], repeats: int, remark: str = ""
) -> None:
    times = interleaved({"ours": ours, "theirs": theirs}, repeats, torch.device("cpu"))
    one, other = times["ours"] * 1e3, times["theirs"] * 1e3
    print(f"{count:6} {one:9.2f} ms {other:9.2f} ms   ratio {one / other:.2f}   {remark}".rstrip(), flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
