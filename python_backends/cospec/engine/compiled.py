"""Compiled forwards, which `compiling.py` makes, as they are loaded: in a second, without transformers."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from cospec.config import ModelSettings
from cospec.engine.artefacts import compiled_forwards, in_tiles, kernels
from cospec.engine.forward import Block, Step
from cospec.engine.kernels import load_kernels
from cospec.engine.quantized import MOST_TOKENS
from cospec.engine.weights import Architecture, Described

ARCHITECTURE, DTYPE = "cospec_architecture", "cospec_dtype"  # in an artefact's metadata


@dataclass(frozen=True)
class Compiled:
    """A forward with its weights inside, and what is to be known of them."""

    architecture: Architecture
    dtype: torch.dtype  # of the cache
    step: Step
    device: ClassVar[torch.device] = torch.device("cpu")


def description(weights: Described) -> dict[str, str]:
    """What an artefact says of the weights inside."""
    return {ARCHITECTURE: json.dumps(asdict(weights.architecture)), DTYPE: str(weights.dtype).removeprefix("torch.")}


def load_compiled(weights: Path, settings: ModelSettings) -> Compiled | None:
    """What `compile_missing` made for this checkpoint, if it did."""
    forwards = compiled_forwards(weights, settings)
    needed = [kernels().path, *(forward.path for forward in forwards)]
    if not all(path.exists() for path in needed):
        return None
    for path in needed:
        with contextlib.suppress(OSError):  # where the cache can only be read, nothing is dropped from it either
            path.touch()
    load_kernels()
    forward, *few = [load_forward(forward.path) for forward in forwards]
    if few:
        return replace(forward, step=_by_size(few[0].step, forward.step))
    return forward if in_tiles(settings) else replace(forward, step=in_company(forward.step))


def load_forward(path: Path) -> Compiled:
    """The kernels must have been loaded."""
    # What PyTorch would wrap it in takes seconds to import, and reads the description anew at each call.
    loader = torch._C._aoti.AOTIModelPackageLoader(str(path), "model", False, 1, -1)
    said = loader.get_metadata()

    def run(block: Block, caches: Sequence[Tensor]) -> Tensor:
        [logits] = loader.boxed_run([*block, *caches])
        return logits

    architecture = json.loads(said[ARCHITECTURE])
    ends = tuple(architecture.pop("end_tokens"))
    return Compiled(Architecture(**architecture, end_tokens=ends), getattr(torch, said[DTYPE]), run)


def _by_size(few: Step, many: Step) -> Step:
    return lambda block, caches: (few if block.tokens.numel() <= MOST_TOKENS else many)(block, caches)


def in_company(step: Step) -> Step:
    """A single token brings padding along: oneDNN is slower by an eighth with one column than with two."""

    def run(block: Block, caches: Sequence[Tensor]) -> Tensor:
        return step(_with_padding(block, caches[0].shape[1] - 1) if block.tokens.numel() == 1 else block, caches)

    return run


def _with_padding(block: Block, scratch: int) -> Block:
    """One token more, written to the cache's entry `scratch`, which nobody reads."""
    return block._replace(
        tokens=block.tokens.repeat(2),
        positions=block.positions.repeat(2),
        cache_positions=torch.cat([block.cache_positions, torch.tensor([scratch])]),
        places=block.places.repeat(2),
    )
