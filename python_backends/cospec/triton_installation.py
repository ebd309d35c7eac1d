"""Where Triton is: `tritonserver` on PATH, else the one inside the `nvidia-pytriton` wheel.

The wheel's server needs the stub of the running Python beside its Python backend, and two folders on the loader's path.
Nothing in site-packages is changed: a runtime folder links to it.
"""

import importlib.util
import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

SUPPORTED_PYTHONS = ((3, 10), (3, 11), (3, 12))


class ServeError(RuntimeError):
    """Why the server cannot start; one sentence for the person who tried."""


@dataclass(frozen=True)
class TritonInstallation:
    binary: Path
    backend_directory: Path | None = None  # None: the server's own default
    library_paths: tuple[Path, ...] = ()


def find_triton(runtime: Path) -> TritonInstallation:
    """`runtime`: an empty folder that lives as long as the server. Raises `ServeError`."""
    on_path = shutil.which("tritonserver")
    if on_path is not None:
        return TritonInstallation(Path(on_path))
    check_python()
    return _assemble(_wheel_directory(), runtime)


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> None:
    if version not in SUPPORTED_PYTHONS:
        known = ", ".join(f"{major}.{minor}" for major, minor in SUPPORTED_PYTHONS)
        raise ServeError(f"Python {version[0]}.{version[1]} is not supported; use one of {known}")


def libpython_directory() -> Path:
    """Triton's Python stub loads libpython as a shared library; raises `ServeError` when this Python has none."""
    name = sysconfig.get_config_var("INSTSONAME") or ""
    candidates = [Path(str(sysconfig.get_config_var(key))) for key in ("LIBDIR", "LIBPL")]
    multiarch = sysconfig.get_config_var("MULTIARCH")
    if multiarch:
        candidates.append(candidates[0] / multiarch)
    for directory in candidates:
        if ".so" in name and (directory / name).exists():
            return directory
    raise ServeError(
        f"{sys.executable} has no libpython shared library; "
        "use a Python built with --enable-shared (on Debian: apt install libpython3-dev)"
    )


def _wheel_directory() -> Path:
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise ServeError(
            "no tritonserver on PATH and no nvidia-pytriton installed; "
            "pip install '.[server]' in CoSpec's folder brings it"
        )
    return Path(spec.origin).parent


def _assemble(wheel: Path, runtime: Path) -> TritonInstallation:
    shipped = wheel / "tritonserver"
    backend = runtime / "backends" / "python"
    backend.mkdir(parents=True)
    for file in (shipped / "backends" / "python").iterdir():
        (backend / file.name).symlink_to(file)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = backend / "triton_python_backend_stub"
    stub.unlink(missing_ok=True)
    _copy_executable(shipped / "python_backend_stubs" / version / stub.name, stub)
    binary = shipped / "bin" / "tritonserver"
    if not os.access(binary, os.X_OK):
        binary = _copy_executable(binary, runtime / "tritonserver")
    return TritonInstallation(binary, backend.parent, (wheel.parent / "nvidia_pytriton.libs", libpython_directory()))


def _copy_executable(source: Path, target: Path) -> Path:
    shutil.copyfile(source, target)
    target.chmod(0o755)
    return target
