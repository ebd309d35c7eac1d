"""The file of objectives, read strictly."""

from pathlib import Path

import pytest

from loadtests.bad_input import BadInput
from loadtests.objectives import Objective, Rule, load_objectives

CLASSES = "classes: {fast: {max_tokens: 8, ttft_ms: 100}}\n"


def loaded(folder: Path, text: str) -> object:
    path = folder / "slo.yaml"
    path.write_text(text)
    return load_objectives(path)


def test_an_objective_is_kept_only_by_all_its_limits() -> None:
    objective = Objective("fast", 1, 8, ttft_ms=100, tpot_ms=10, e2e_ms=500)
    assert objective.allows(0.1, 0.01, 0.5)
    assert not objective.allows(0.1001, 0.01, 0.5)
    assert not objective.allows(0.1, 0.0101, 0.5)
    assert not objective.allows(0.1, 0.01, 0.5001)
    assert Objective("any", 1, 8).allows(1e6, 1e6, 1e6)


def test_objectives_are_scaled_and_their_gate_is_not(tmp_path: Path) -> None:
    path = tmp_path / "slo.yaml"
    path.write_text(CLASSES + "gate: {ttft_p99_ms: {max: 90}}")
    strict = load_objectives(path).scaled(0.5)
    assert strict.of("fast") == Objective("fast", 1, 8, ttft_ms=50)
    assert strict.gate == load_objectives(path).gate


def test_a_rule_holds_within_its_bounds_and_never_for_what_was_not_measured() -> None:
    assert Rule("x", low=1).holds(1) and not Rule("x", low=1).holds(0.99)
    assert Rule("x", high=0).holds(0) and not Rule("x", high=0).holds(0.01)
    assert not Rule("x", high=5).holds(None)
    assert str(Rule("x", 1, 2)) == ">= 1 and <= 2"


@pytest.mark.parametrize(
    "text, words",
    [
        (CLASSES + "gate: {ttft_p98_ms: {max: 1}}", "gate names the unknown metric 'ttft_p98_ms'; metrics: attainment"),
        (CLASSES + "gate: {slow.attainment: {min: 1}}", "unknown metric 'slow.attainment'"),
        (
            CLASSES + "gate: {attainment: {above: 1}}",
            r"gate\.attainment has the unknown key 'above'; allowed: min, max",
        ),
        (CLASSES + "gate: {attainment: {}}", "must have min or max"),
        (CLASSES, "gate must bound at least one metric"),
        (CLASSES + "gates: {}", "unknown key 'gates'; allowed: classes, gate"),
        ("classes: {fast: {max_tokens: 8, ttft: 100}}", r"classes\.fast has the unknown key 'ttft'"),
        ("classes: {fast: {max_tokens: 0}}", r"classes\.fast\.max_tokens must be a whole number from 1, got 0"),
        ("classes: {fast: {ttft_ms: 3}}", r"classes\.fast\.max_tokens is missing"),
        ("classes: {fast: {max_tokens: 8, e2e_ms: -1}}", r"classes\.fast\.e2e_ms must be a number of at least 0"),
        ("classes: {}", "at least one class"),
        ("[", "not valid YAML"),
    ],
)
def test_bad_objectives_are_one_sentence_naming_file_and_key(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BadInput, match=words) as error:
        loaded(tmp_path, text)
    assert "slo.yaml" in str(error.value) and "\n" not in str(error.value)
