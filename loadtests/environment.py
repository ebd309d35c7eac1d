"""Where a benchmark ran: the settings it measured, the versions, the machine."""

import hashlib
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from loadtests.json_process import json_of
from loadtests.server_process import COSPEC_SERVER

DEFAULT_SETTINGS = Path(__file__).resolve().parent.parent / "python_backends" / "cospec.yaml"
PACKAGES = ("cospec", "torch", "transformers", "nvidia-pytriton", "tritonclient", "numpy", "locust")


@dataclass(frozen=True)
class ServerSettings:
    """What a comparison on the same weights must share with the server."""

    path: Path
    sha256: str
    dtype: str  # of the verifier: float32 | bfloat16 | float16
    num_threads: int  # of the verifier's process


def read_settings(path: Path = DEFAULT_SETTINGS) -> ServerSettings:
    """As the server reads them on this machine. Raises `CommandFailed` where it cannot."""
    settings = json_of([COSPEC_SERVER, "settings", "--json", "--settings", str(path)], "the settings")
    verifier, digest = settings["engine"]["verifier"], hashlib.sha256(path.read_bytes()).hexdigest()
    return ServerSettings(path, digest, verifier["dtype"], verifier["num_threads"])


def describe_environment(settings: ServerSettings) -> dict[str, Any]:
    """Plain JSON."""
    return {
        "settings": {"file": settings.path.name, "sha256": settings.sha256, "dtype": settings.dtype},
        **describe_machine(),
    }


def describe_machine() -> dict[str, Any]:
    """This machine and the versions on it, as plain JSON."""
    return {
        "machine": {
            "processor": processor_name(Path("/proc/cpuinfo").read_text(encoding="utf-8")) or platform.processor(),
            "memory_gib": round(_memory_bytes() / 2**30, 1),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # such as the wheel of Triton where Triton is installed
        return None


def processor_name(cpuinfo: str) -> str:
    """Of Linux's description of every core; empty where it names none.

    With the generation: under a hypervisor every EPYC calls itself "AMD EPYC".
    """
    fields = [line.split(":", 1) for line in cpuinfo.splitlines() if ":" in line]
    cores = [value.strip() for name, value in fields if name.strip() == "model name"]
    latest = {name.strip(): value.strip() for name, value in fields}
    family, model = latest.get("cpu family"), latest.get("model")
    generation = f" (family {family}, model {model})" if family and model else ""
    return f"{len(cores)} x {cores[0]}{generation}" if cores else ""


def _memory_bytes() -> int:
    [line] = [line for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines() if "MemTotal" in line]
    return int(line.split()[1]) * 1024
