"""`cospec-server train`, as far as it goes without training: what cannot be done is a sentence, and harms nothing."""

import json
from pathlib import Path

import pytest
from cospec.training.cli import main


def corpus(folder: Path, text: str | None = None) -> Path:
    path = folder / "corpus.jsonl"
    path.write_text(json.dumps({"domain": "code", "prompt": "a", "response": "b"}) if text is None else text)
    return path


@pytest.mark.parametrize(
    "told, words",
    [
        (["pretrain"], "work/tokenizer is missing; the stage 'tokenizer' makes it"),
        (["distill"], "work/verifier is missing; the stage 'pretrain' makes it"),
        (["distill", "--further"], "models/verifier/1/weights is missing; the stage 'publish' makes it"),
        (["publish"], "work/verifier is missing; the stage 'pretrain' makes it"),
        (["publish", "--further"], "work/drafter_code is missing; the stage 'distill' makes it"),
        (["all", "--further"], "models/verifier/1/weights is missing; the stage 'publish' makes it"),
    ],
)
def test_a_stage_whose_beginnings_are_missing_names_them(
    told: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(corpus(tmp_path))
    places = ["--work", str(tmp_path / "work"), "--model-repository", str(tmp_path / "models")]
    assert main(["--corpus", path, "--validation", path, *places, "--stage", *told]) == 2
    error = capsys.readouterr().err
    assert error.startswith("cospec-server train: ") and error.endswith(f"{words}\n") and error.count("\n") == 1


def test_what_is_not_trained_replaces_no_weights(tmp_path: Path) -> None:
    path, served = str(corpus(tmp_path)), tmp_path / "models" / "verifier" / "1" / "weights"
    served.mkdir(parents=True)
    (tmp_path / "work" / "verifier").mkdir(parents=True)
    told = ["--work", str(tmp_path / "work"), "--model-repository", str(tmp_path / "models"), "--stage", "publish"]
    assert main(["--corpus", path, "--validation", path, *told]) == 2
    assert served.is_dir(), "the drafter is missing, so the verifier stays as well"


@pytest.mark.parametrize(
    "text, words",
    [
        ('{"domain": "law", "prompt": "a", "response": "b"}', "corpus.jsonl:1: domain 'law' is not one of chat, code"),
        ('{"domain": "code"}', "corpus.jsonl:1: not a JSON object with domain, prompt and response"),
    ],
)
def test_a_bad_corpus_is_named_with_its_line(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(corpus(tmp_path, text))
    assert main(["--corpus", path, "--validation", path, "--stage", "tokenizer"]) == 2
    assert words in capsys.readouterr().err


def test_a_domain_without_text_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(corpus(tmp_path))
    assert main(["--corpus", path, "--validation", path, "--stage", "distill", "--domains", "math"]) == 2
    assert f"--domains names 'math'; domains of {path}: code" in capsys.readouterr().err
