"""Attention over rows of unequal length, for CPUs: the operator, whose code is `ragged_attention.cpp`."""

import subprocess
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.cpp_extension import include_paths, library_paths

from cospec.engine.artefacts import compiler, kernel, written_whole

SOURCE = Path(__file__).with_suffix(".cpp")
NAME = "cospec::ragged_attention"
FLAGS = ("-std=c++20", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared")

torch.library.define(
    NAME,
    "(Tensor queries, Tensor cache, Tensor slots, Tensor starts, Tensor positions, Tensor places, Tensor relatives, "
    "int window) -> Tensor",
)


@torch.library.register_fake(NAME)
def _like_its_queries(queries: Tensor, *others: object) -> Tensor:
    return torch.empty_like(queries)


def ragged_attention(
    queries: Tensor,
    cache: Tensor,
    slots: Tensor,
    starts: Tensor,
    positions: Tensor,
    places: Tensor,
    relatives: Tensor,
    window: int | None,
) -> Tensor:
    """`queries` [tokens, heads, head_dim] over `cache` [slots, entries, 2 * kv heads, head_dim]; the rest is `Block`'s.

    `window`: of sliding attention. Returns [tokens, heads, head_dim]. The code must have been loaded (`load_kernel`).
    """
    attended: Tensor = torch.ops.cospec.ragged_attention(
        queries, cache, slots, starts, positions, places, relatives, window or 0
    )
    return attended


def build_kernel(path: Path) -> None:
    """Compile the operator's code for this machine; an error has what the compiler first complains of.

    By hand, since `torch.utils.cpp_extension` would want ninja, and Python's headers.
    """
    with written_whole(path) as unfinished:
        built = subprocess.run(_command(unfinished), capture_output=True, text=True)
        if built.returncode:
            lines = built.stderr.splitlines()
            raise RuntimeError(next((line for line in lines if "error" in line), f"{compiler()} failed"))


def _command(output: Path) -> list[str]:
    capability = torch.backends.cpu.get_cpu_capability()  # which of its vectors ATen's headers are to use
    return [
        compiler() or "g++",
        *FLAGS,
        *(f"-DCPU_CAPABILITY{joint}{capability}" for joint in "=_"),
        *(f"-I{directory}" for directory in include_paths()),
        str(SOURCE),
        *(f"-L{directory}" for directory in library_paths()),
        *("-ltorch_cpu", "-lc10", "-o", str(output)),
    ]


def load_kernel() -> None:
    """Into this process, once."""
    if not torch._C._dispatch_has_kernel_for_dispatch_key(NAME, "CPU"):
        torch.ops.load_library(str(kernel().path))
