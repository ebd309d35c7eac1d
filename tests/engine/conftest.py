"""Fixtures of the engine tier; `tiny.py` makes the models."""

import pytest
from cospec.engine.artefacts import kernel
from cospec.engine.ragged_attention import build_kernel, load_kernel
from tiny import checkpoint

__all__ = ["checkpoint", "loaded_kernel"]


@pytest.fixture(scope="session")
def loaded_kernel() -> None:
    """The C++ that compiled forwards call."""
    if not kernel().path.exists():
        build_kernel(kernel().path)
    load_kernel()
