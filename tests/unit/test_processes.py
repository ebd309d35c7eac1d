"""The environment of a server's processes."""

from pathlib import Path

import pytest
from cospec.processes import PACKAGE_ROOT, triton_environment


def test_the_threads_of_numpys_blas_take_no_core_from_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    assert triton_environment(Path("cospec.yaml"), [])["OPENBLAS_NUM_THREADS"] == "1"


def test_what_a_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    monkeypatch.setenv("PYTHONPATH", "/their/own")
    environment = triton_environment(Path("cospec.yaml"), [Path("/triton/lib")])
    assert environment["OPENBLAS_NUM_THREADS"] == "4"
    assert environment["PYTHONPATH"].split(":") == [str(PACKAGE_ROOT), "/their/own"]
    assert environment["LD_LIBRARY_PATH"].split(":")[0] == "/triton/lib"
