"""Building the operators' code."""

from pathlib import Path

import pytest
from cospec.engine.kernels import build_kernels


def test_a_compiler_that_fails_is_told_in_its_own_words_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("cospec.engine.kernels.FLAGS", ("-std=c++1789",))
    with pytest.raises(RuntimeError, match=r"error: .*c\+\+1789"):
        build_kernels(tmp_path / "kernel.so")
    assert not list(tmp_path.iterdir())
