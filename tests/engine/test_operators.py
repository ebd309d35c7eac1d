"""The command that compares the operators in C++ with PyTorch's own."""

import re

import pytest
from cospec.engine import operators


@pytest.mark.usefixtures("loaded_kernels")
def test_it_tells_the_times_of_every_operator_and_their_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    assert operators.main(["--repeats", "1", "--mebibytes", "30"]) == 0
    told = capsys.readouterr().out
    choices = len(operators.ROWS) * len(operators.VOCABULARIES) * 2
    products = len(operators.TOKENS) if operators.multiplies_in_tiles() else 0
    assert len(re.findall(r"ms +ratio \d+\.\d\d", told)) == choices + products + len(operators.ATTENDING)
