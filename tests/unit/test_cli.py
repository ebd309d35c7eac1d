"""`cospec-server compile`, where it has nothing to do or nothing to do it with."""

from pathlib import Path

import pytest
import yaml
from cospec.cli import main
from cospec.config import DEFAULT_SETTINGS
from cospec.engine.artefacts import CACHE_VARIABLE


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped ones, on a CPU, with nothing compiled and no compiler."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    shipped = yaml.safe_load(DEFAULT_SETTINGS.read_text())
    shipped["engine"]["device"] = "cpu"
    path = tmp_path / "cospec.yaml"
    path.write_text(yaml.safe_dump(shipped))
    return path


def test_without_a_compiler_one_sentence_says_so(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "--settings", str(settings)]) == 1
    [sentence] = capsys.readouterr().err.splitlines()
    assert "g++" in sentence


def test_where_it_is_never_wanted_there_is_nothing_to_do(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings.write_text(settings.read_text().replace("compile: auto", "compile: never"))
    assert main(["compile", "--settings", str(settings)]) == 0
    assert not capsys.readouterr().err
