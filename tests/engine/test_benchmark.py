"""The command that times a step: what it measures beside it, and what it refuses."""

from pathlib import Path

import pytest
import torch
from cospec.engine.benchmark import Step, interleaved, main, reading


def test_what_is_read_is_as_large_as_the_matrices_and_as_an_embedding_that_is_one_of_them() -> None:
    embedding, matrix = torch.nn.Embedding(1000, 400), torch.nn.Linear(400, 1000)
    model = torch.nn.Sequential(embedding, matrix, torch.nn.Linear(1000, 10))
    assert reading(model)() == 400 * 1000 + 1000 * 10
    embedding.weight = matrix.weight
    assert reading(model)() == 400 * 1000 + 1000 * 10
    assert reading(model.to(torch.bfloat16))() == (400 * 1000 + 1000 * 10) / 2


def test_steps_take_turns_and_the_first_of_each_warm_up() -> None:
    order: list[str] = []
    steps: dict[str, Step] = {name: lambda name=name: order.append(name) for name in "ab"}  # type: ignore[misc]
    figures = interleaved(steps, 2, torch.device("cpu"))
    assert order == ["a", "b"] * 7 and set(figures) == {"a", "b"}


def test_a_verifier_that_is_not_there_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--verifier-weights", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"benchmark: {tmp_path}: no weights here: config.json is missing\n"
