"""`cospec-server compile` and `expand`, where there is nothing to do, or nothing to do it with."""

from pathlib import Path

import pytest
import yaml
from cospec.cli import main
from cospec.config import DEFAULT_SETTINGS
from cospec.engine.artefacts import CACHE_VARIABLE
from cospec.serve import free_ports


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


def test_weights_to_compile_that_are_not_there_are_named(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "--settings", str(settings), "--verifier-weights", "nowhere"]) == 2
    [sentence] = capsys.readouterr().err.splitlines()
    assert f"{Path.cwd()}/nowhere/config.json is missing" in sentence


def test_weights_to_serve_that_are_not_there_are_named(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ports = [f"--{name}-port={port}" for name, port in zip(("http", "grpc", "metrics"), free_ports(3), strict=True)]
    assert main(["serve", *ports, "--settings", str(settings), "--verifier-weights", "nowhere"]) == 2
    [sentence] = capsys.readouterr().err.splitlines()
    assert f"{Path.cwd()}/nowhere/config.json is missing" in sentence


@pytest.mark.parametrize(
    ("arguments", "mentioned"),
    [
        (["--parameters", "1e6"], "--parameters must be at least 22,"),
        (["--parameters", "1e15"], "2000000.0 GB"),
        (["--parameters", "0.3e9", "--verifier", "nowhere"], "nowhere/config.json is missing"),
    ],
)
def test_an_expansion_that_cannot_be_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], mentioned: str
) -> None:
    assert main(["expand", *arguments, "--out", str(tmp_path / "out")]) == 2
    [sentence] = [line for line in capsys.readouterr().err.splitlines() if "cospec-server" in line]
    assert mentioned in sentence
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", ["many", "nan", "inf"])
def test_a_number_of_parameters_that_is_none_is_refused(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["expand", "--parameters", number, "--out", "out"])
    assert f"must be a number such as 0.3e9, got '{number}'" in capsys.readouterr().err
