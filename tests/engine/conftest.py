"""Fixtures of the engine tier; `tiny.py` makes the models."""

import pytest
from cospec.engine.artefacts import kernels
from cospec.engine.kernels import build_kernels, load_kernels
from tiny import checkpoint

__all__ = ["checkpoint", "loaded_kernels"]


@pytest.fixture(scope="session")
def loaded_kernels() -> None:
    """The operators in C++."""
    if not kernels().path.exists():
        build_kernels(kernels().path)
    load_kernels()
