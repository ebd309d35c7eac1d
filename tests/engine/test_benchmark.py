"""The command that times a step: what it measures beside it, and what it refuses."""

from pathlib import Path

import pytest
import torch
from cospec.engine.benchmark import Step, interleaved, main, reading


def test_what_is_read_is_as_large_as_the_weights_whose_tied_ones_count_once() -> None:
    small, large = torch.nn.Linear(1000, 1000), torch.nn.Linear(4000, 4000)
    tied = torch.nn.Sequential(large, torch.nn.Linear(4000, 4000))
    tied[1].weight = large.weight
    assert reading(small)() == 1000 * 1001
    assert reading(tied)() == 4000 * 4002
    assert reading(small.to(torch.bfloat16))() == 1000 * 1001 / 2


def test_steps_take_turns_and_the_first_of_each_warm_up() -> None:
    order: list[str] = []
    steps: dict[str, Step] = {name: lambda name=name: order.append(name) for name in "ab"}  # type: ignore[misc]
    figures = interleaved(steps, 2, torch.device("cpu"))
    assert order == ["a", "b"] * 7 and set(figures) == {"a", "b"}


def test_a_verifier_that_is_not_there_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--verifier-weights", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"benchmark: {tmp_path}: no weights here: config.json is missing\n"
