"""The operators' code for CPUs, in C++ on the vectors that torch brings: built once a machine, kept with artefacts."""

import subprocess
from pathlib import Path

import torch

from cospec.engine import perturb, ragged_attention, tiled_linear
from cospec.engine.artefacts import KERNEL_SOURCES, compiler, kernels, written_whole
from cospec.processor import has_amx, multiplies_in_tiles

# Named, lest a compiler that knows none leave them out in silence; and Linux may withhold what the processor has.
AMX_FLAGS = ("-DCOSPEC_AMX", "-mamx-tile", "-mamx-bf16", "-mamx-int8", "-mavx512bf16")
AVX512_FLAGS = ("-DCOSPEC_AVX512", "-mavx512bf16", "-mavx512vnni")
FLAGS = ("-std=c++20", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared")
OPERATORS = (ragged_attention.NAME, perturb.NAME, tiled_linear.NAME)


def build_kernels(path: Path) -> None:
    """Compile them for this machine; an error has what the compiler first complains of.

    By hand, since `torch.utils.cpp_extension` would want ninja, and Python's headers.
    """
    with written_whole(path) as unfinished:
        built = subprocess.run(_command(unfinished), capture_output=True, text=True)
        if built.returncode:
            lines = built.stderr.splitlines()
            raise RuntimeError(next((line for line in lines if "error" in line), f"{compiler()} failed"))


def load_kernels() -> None:
    """Into this process, once; operators that have a form of their own for other devices use these from then on."""
    if not all(torch._C._dispatch_has_kernel_for_dispatch_key(name, "CPU") for name in OPERATORS):
        torch.ops.load_library(str(kernels().path))


def _command(output: Path) -> list[str]:
    from torch.utils.cpp_extension import include_paths, library_paths  # takes a second, and is wanted once a machine

    capability = torch.backends.cpu.get_cpu_capability()  # which of its vectors ATen's headers are to use
    return [
        compiler() or "g++",
        *FLAGS,
        *_tile_flags(),
        *(f"-DCPU_CAPABILITY{joint}{capability}" for joint in "=_"),
        *(f"-I{directory}" for directory in include_paths()),
        *(str(Path(__file__).with_name(name)) for name in KERNEL_SOURCES if name.endswith(".cpp")),
        *(f"-L{directory}" for directory in library_paths()),
        *("-ltorch_cpu", "-lc10", "-o", str(output)),
    ]


def _tile_flags() -> tuple[str, ...]:
    if has_amx():
        return AMX_FLAGS
    return AVX512_FLAGS if multiplies_in_tiles() else ()
