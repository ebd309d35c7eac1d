"""What this machine computes with. Without torch: looking must be cheap."""

import ctypes
from functools import cache
from pathlib import Path

AMX = {"amx_tile", "amx_bf16", "amx_int8"}
AVX512 = {"avx512f", "avx512bw", "avx512vl", "avx512_bf16", "avx512_vnni"}
BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # any of them; the last is ARM's
ASK_FOR_TILES = (158, 0x1023, 18)  # arch_prctl on x86-64, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA


@cache
def has_amx() -> bool:
    """Whether this process may use its tiles: Linux gives them to those that ask."""
    return set(instruction_sets().split()) >= AMX | AVX512 and ctypes.CDLL(None).syscall(*ASK_FOR_TILES) == 0


@cache
def multiplies_in_tiles() -> bool:
    """Whether our own matrix products have instructions here: AMX's, or those of AVX-512 for bfloat16 and int8."""
    return set(instruction_sets().split()) >= AVX512


def uses_gpu(device: str) -> bool:
    """`device`: auto | cpu | cuda."""
    return device == "cuda" or (device == "auto" and Path("/dev/nvidiactl").exists())


def best_dtype(device: str) -> str:
    """A CPU without instructions for bfloat16 computes it by way of float32."""
    knows_bfloat16 = uses_gpu(device) or not BFLOAT16.isdisjoint(instruction_sets().split())
    return "bfloat16" if knows_bfloat16 else "float32"


def instruction_sets() -> str:
    """Linux's line of them, empty elsewhere: code made for more than there are would be killed."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.is_file() else []
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
