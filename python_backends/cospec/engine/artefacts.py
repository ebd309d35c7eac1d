"""Where what is compiled for this machine is kept, by all that it depends on. Without torch: looking must be cheap."""

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

from cospec.config import EngineSettings, ModelSettings, Settings
from cospec.processor import has_amx, instruction_sets, multiplies_in_tiles, uses_gpu

CACHE_VARIABLE = "COSPEC_CACHE"
SOURCES = (
    "forward.py",
    "ragged_attention.py",
    "weights.py",
    "quantized.py",
    "tiled_linear.py",
    "kv_cache.py",
    "checkpoints.py",
    "compiling.py",
    "compiled.py",
)
KERNEL_SOURCES = ("ragged_attention.cpp", "perturb.cpp", "tiled_linear.cpp", "tile_products.h", "tiles.h")
PIECE = 2**22  # bytes read at once


def cache_directory() -> Path:
    """`COSPEC_CACHE`, or `cospec` in the user's cache directory."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cospec"


def compiler() -> str | None:
    """The C++ compiler that torch would use."""
    return shutil.which(os.environ.get("CXX", "g++"))


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A name to write to; what is there at the end becomes `path`, so that nobody reads half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Containers that share a cache share process ids as well.
    unfinished = path.with_name(f"{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def in_tiles(settings: ModelSettings) -> bool:
    """Whether forwards that are compiled with these settings multiply in tiles."""
    return multiplies_in_tiles() and settings.dtype == "bfloat16"


def wants_artefacts(engine: EngineSettings) -> bool:
    """On a GPU the eager forward serves."""
    return engine.compile == "auto" and not uses_gpu(engine.device)


@dataclass(frozen=True)
class Artefact:
    """Something compiled that settings call for: a forward, or the operators' code."""

    path: Path


@dataclass(frozen=True)
class CompiledForward(Artefact):
    weights: Path
    settings: ModelSettings
    quantized: bool = False  # with int8 weights


def compiled_forwards(weights: Path, settings: ModelSettings) -> list[CompiledForward]:
    """Of the checkpoint in `weights`; everything that one depends on is in its name.

    In tiles int8 serves any number of tokens; elsewhere a few, and the first forward those of more.
    """
    nameless = replace(settings, weights="")  # a checkpoint is what it holds, wherever it lies
    digest = _digest(SOURCES, f"{nameless}", *sorted(weights.glob("*.safetensors")), weights / "config.json")
    stem = cache_directory() / digest
    exact = CompiledForward(stem.with_suffix(".pt2"), weights, settings)
    rounded = CompiledForward(stem.with_suffix(".int8.pt2"), weights, settings, quantized=True)
    if settings.quantize == "none":
        return [exact]
    return [rounded] if in_tiles(settings) else [exact, rounded]


def kernels() -> Artefact:
    """The operators in C++, which compiled forwards call."""
    return Artefact(cache_directory() / f"{_digest((*KERNEL_SOURCES, 'kernels.py'))}.so")


def wanted_artefacts(settings: Settings, repository: Path) -> Iterator[Artefact]:
    """Of the models that are served, where forwards are compiled at all."""
    if not wants_artefacts(settings.engine):
        return
    served = {model: path for model, path in settings.weights(repository).items() if model in settings.model_names}
    if served:
        yield kernels()
    for model, weights in served.items():
        yield from compiled_forwards(weights, settings.engine.of(model))


def missing_artefacts(settings: Settings, repository: Path) -> Iterator[Artefact]:
    return (artefact for artefact in wanted_artefacts(settings, repository) if not artefact.path.exists())


def all_compiled(settings: Settings, repository: Path) -> bool:
    """Whether nothing that these settings call for is missing."""
    return next(missing_artefacts(settings, repository), None) is None


def _digest(sources: Iterable[str], settings: str = "", *files: Path) -> str:
    """A name for what these sources make of these settings and files, on this machine, with this torch."""
    machine = f"{instruction_sets()} {has_amx()} {multiplies_in_tiles()}"
    digest = hashlib.sha256(f"{version('torch')} {machine} {settings}".encode())
    for path in (*map(Path(__file__).with_name, sources), *files):
        with path.open("rb") as file:
            for piece in iter(partial(file.read, PIECE), b""):
                digest.update(piece)
    return digest.hexdigest()[:24]
