"""The forward compiled ahead of time for this machine: for every number of rows and tokens.

Between its matrices an eager forward spends as long as in them; AOTInductor fuses what lies between, and packs the
weights into oneDNN's own layout. Compiling takes seconds a model, so artefacts are kept on disk.
"""

import os
import signal
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim
from tqdm import tqdm
from transformers.utils.logging import disable_progress_bar

from cospec.config import Settings
from cospec.engine.artefacts import (
    Artefact,
    CompiledForward,
    cache_directory,
    in_tiles,
    missing_artefacts,
    written_whole,
)
from cospec.engine.checkpoints import load_with
from cospec.engine.compiled import description
from cospec.engine.forward import Block, Forward
from cospec.engine.kernels import build_kernels
from cospec.engine.kv_cache import KVCache
from cospec.engine.quantized import quantize
from cospec.engine.tiled_linear import tiled
from cospec.engine.weights import Weights
from cospec.mortal import die_with_parent

AT_ONCE = 2  # compilers, of about 1 GiB each
SUFFIXES = (".pt2", ".so")  # of artefacts
UNUSED_SECONDS = 30 * 86400


def compile_missing(settings: Settings, repository: Path) -> None:
    """Make the artefacts that these settings lack on this machine."""
    jobs = list(missing_artefacts(settings, repository))
    if not jobs:
        return
    context = get_context("spawn")  # a fork would inherit torch's threads
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = scratch
        with ProcessPoolExecutor(AT_ONCE, context, die_with_parent, (signal.SIGKILL,)) as pool:
            futures = [pool.submit(_compile_artefact, job) for job in jobs]
            for future in tqdm(as_completed(futures), desc="compiling models", unit="model", total=len(jobs)):
                future.result()
    drop_unused(cache_directory())


def _compile_artefact(artefact: Artefact) -> None:
    if isinstance(artefact, CompiledForward):
        disable_progress_bar()  # of loading: there is one of compiling
        settings = artefact.settings
        torch.set_num_threads(settings.num_threads)
        compile_forward(_shaped_weights(artefact), settings.num_slots, settings.max_length, artefact.path)
    else:
        build_kernels(artefact.path)


def _shaped_weights(artefact: CompiledForward) -> Weights:
    """With the matrices as this processor multiplies them best."""
    weights = load_with(artefact.settings, artefact.weights, torch.device("cpu"))
    if in_tiles(artefact.settings):
        return tiled(weights, artefact.quantized)
    return quantize(weights) if artefact.quantized else weights


def compile_forward(loaded: Weights, num_slots: int, max_length: int, path: Path) -> None:
    """Write the artefact to `path`. The number of threads is torch's own at this moment."""
    shape = loaded.architecture
    cache = KVCache(loaded, num_slots, max_length)
    with torch.no_grad(), written_whole(path) as unfinished:
        shapes = (*_dynamic_shapes(num_slots, max_length), *[None] * shape.num_layers)
        program = torch.export.export(
            _Flat(loaded), (*_example(cache), *cache.layers), dynamic_shapes=(shapes,), strict=False
        )
        configs = {"freezing": True, "aot_inductor.metadata": description(loaded)}
        torch._inductor.aoti_compile_and_package(program, package_path=str(unfinished), inductor_configs=configs)


def drop_unused(directory: Path) -> None:
    """Artefacts of models and settings that nobody has loaded for long."""
    for path in directory.iterdir():
        if path.suffix in SUFFIXES and path.stat().st_mtime < time.time() - UNUSED_SECONDS:
            path.unlink(missing_ok=True)


class _Flat(nn.Module):
    """`Forward` with its tensors as positional arguments."""

    def __init__(self, loaded: Weights) -> None:
        super().__init__()
        self.inner = Forward(loaded, ragged=True)

    def forward(self, *tensors: Tensor) -> Tensor:
        count = len(Block._fields)
        logits: Tensor = self.inner(Block(*tensors[:count]), tensors[count:])
        return logits


def _example(cache: KVCache) -> Block:
    """Every dimension that varies has a size of its own, so that none is taken for another."""
    tokens, rows, width, span, length, wanted = 8, 2, 6, 4, 7, 5
    places = torch.arange(tokens)
    return Block(
        tokens=places,
        positions=places.clone(),
        cache_positions=places.clone(),
        places=places.clone(),
        sources=torch.zeros((rows, width), dtype=torch.int64),
        slots=torch.arange(rows),
        starts=torch.zeros(rows, dtype=torch.int64),
        relatives=torch.ones((rows, width, span), dtype=torch.bool),
        columns=cache.columns(length),
        wanted=torch.arange(wanted),
    )


def _dynamic_shapes(num_slots: int, max_length: int) -> tuple[dict[int, Dim], ...]:
    """Which dimensions vary, in the order of `Block`."""
    tokens = Dim("tokens", min=1, max=num_slots * max_length)
    rows, width = Dim("rows", min=1, max=max(2, num_slots)), Dim("width", min=1, max=max_length)  # no range of one
    span = Dim("span", min=1, max=max_length)
    length, wanted = Dim("length", min=1, max=max_length), Dim("wanted", min=1, max=num_slots * max_length)
    token, row = {0: tokens}, {0: rows}
    relatives = {0: rows, 1: width, 2: span}
    return token, token, token, token, {0: rows, 1: width}, row, row, relatives, {0: length}, {0: wanted}
