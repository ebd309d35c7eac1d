"""Child processes that do not outlive their parent, and their environment."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cospec.config import SETTINGS_VARIABLE

PACKAGE_ROOT = Path(__file__).resolve().parent.parent


def kill_group(process: "subprocess.Popen[bytes]") -> None:
    """The process, if it still runs, and its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def dying_with_us(command: Sequence[str]) -> list[str]:
    """`command`, which gets SIGTERM when this process ends, even by SIGKILL.

    By a process that becomes the command: `preexec_fn` would run Python between fork and exec, which other threads'
    locks, those of gRPC for one, do not survive.
    """
    return [sys.executable, "-IS", str(PACKAGE_ROOT / "cospec" / "mortal.py"), str(os.getpid()), *command]


def compiling(settings: Path, repository: Path, scratch: Path, output: int | None = None) -> "subprocess.Popen[bytes]":
    """`cospec-server compile`, in a process of its own, which leaves no torch behind in this one.

    `scratch`: where it leaves what nobody needs; `output`: as subprocess' `stdout`, of both its streams.
    """
    command = [
        sys.executable,
        "-m",
        "cospec.cli",
        "compile",
        f"--settings={settings}",
        f"--model-repository={repository}",
    ]
    environment = {**os.environ, "TMPDIR": str(scratch)}
    return subprocess.Popen(
        dying_with_us(command), env=environment, start_new_session=True, stdout=output, stderr=output
    )


def triton_environment(settings: Path, library_paths: Sequence[Path]) -> dict[str, str]:
    """Of a server whose models read these settings."""
    environment = dict(os.environ)
    environment[SETTINGS_VARIABLE] = str(settings)
    _prepend(environment, "PYTHONPATH", PACKAGE_ROOT)
    _prepend(environment, "PATH", Path(sys.executable).parent)  # where the stub finds its packages
    for path in library_paths:
        _prepend(environment, "LD_LIBRARY_PATH", path)
    # Several processes share the cores. A thread that waits spins briefly, since its next turn comes within a
    # layer, and then sleeps: sleeping at once made a verifier's step a third slower, spinning long starves others.
    environment.setdefault("GOMP_SPINCOUNT", "20000")
    # NumPy's matrices are tiny here; after each, its library's threads would spin on the cores that the models need.
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
    environment.setdefault("TOKENIZERS_PARALLELISM", "false")
    return environment


def _prepend(environment: dict[str, str], name: str, path: Path) -> None:
    rest = environment.get(name)
    environment[name] = f"{path}{os.pathsep}{rest}" if rest else str(path)
