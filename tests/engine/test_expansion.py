"""An expanded verifier is another model with the same function."""

import shutil
from pathlib import Path

import pytest
import torch
from cospec.config import SettingsError
from cospec.engine.blocks import Part, assemble
from cospec.engine.expansion import MOST_LAYERS, expand
from cospec.engine.weights import WeightsError
from safetensors.torch import load_file
from tiny import FAMILIES, Directory, load, random_tokens
from transformers import AutoModelForCausalLM, PreTrainedModel

PARAMETERS = 200_000  # of the tiny ones, 17,000 to 24,000


def model_of(directory: Path) -> PreTrainedModel:
    """What an expansion keeps is the function of the weights in bfloat16: here computed in float32."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16)
    return model.float().eval()  # type: ignore[no-any-return]


def logits(directory: Path) -> torch.Tensor:
    tokens = torch.from_numpy(random_tokens(40).astype("int64"))[None]
    with torch.inference_mode():
        return model_of(directory)(tokens).logits[0]  # type: ignore[no-any-return]


@pytest.fixture
def source(checkpoint: Directory, tmp_path: Path) -> Path:
    """With a tokenizer's file."""
    directory = tmp_path / "source"
    shutil.copytree(checkpoint("llama"), directory)
    (directory / "tokenizer.json").write_text("{}")
    return directory


@pytest.mark.parametrize("family", FAMILIES)
def test_the_logits_are_the_sources(checkpoint: Directory, tmp_path: Path, family: str) -> None:
    count = expand(checkpoint(family), PARAMETERS, tmp_path / "out")
    torch.testing.assert_close(logits(tmp_path / "out"), logits(checkpoint(family)), atol=2e-4, rtol=2e-4)
    assert model_of(tmp_path / "out").num_parameters() == count
    assert 0.8 * PARAMETERS < count <= PARAMETERS


def test_the_engine_serves_it_with_the_same_greedy_text(source: Path, tmp_path: Path) -> None:
    expand(source, PARAMETERS, tmp_path / "out")
    texts = []
    for directory in (source, tmp_path / "out"):
        weights = tmp_path / f"{directory.name}-float32"
        model_of(directory).save_pretrained(weights)
        model, tokens = load(weights), random_tokens(9)
        for _ in range(20):
            chosen = model.logits(assemble(model, [Part(0, 0, tokens)]))[-1].argmax()
            tokens = torch.cat([torch.from_numpy(tokens), chosen[None]]).to(torch.int32).numpy()
        texts.append(tokens.tolist())
    assert texts[0] == texts[1]


def test_what_is_new_and_read_is_random_and_what_is_written_is_zero(source: Path, tmp_path: Path) -> None:
    expand(source, PARAMETERS, tmp_path / "out")
    state = load_file(tmp_path / "out" / "model.safetensors")
    zeros = {name: (tensor == 0).float().mean().item() for name, tensor in state.items()}
    inserted = {name for name, share in zeros.items() if share == 1}
    assert inserted and all(name.endswith(("o_proj.weight", "down_proj.weight")) for name in inserted)
    assert all(
        share < 0.02 for name, share in zeros.items() if not name.endswith(("o_proj.weight", "down_proj.weight"))
    )
    assert all(tensor.dtype == torch.bfloat16 for tensor in state.values())


def test_it_is_a_checkpoint_with_tokenizer_and_a_card(source: Path, tmp_path: Path) -> None:
    expand(source, PARAMETERS, tmp_path / "new" / "out")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]
    assert (tmp_path / "new" / "out" / "tokenizer.json").read_text() == "{}"
    assert "for measuring" in (tmp_path / "new" / "out" / "MODEL_CARD.md").read_text()


def test_an_expanded_one_can_be_expanded_and_has_not_too_many_layers(source: Path, tmp_path: Path) -> None:
    expand(source, PARAMETERS, tmp_path / "one")
    expand(tmp_path / "one", 3_000_000, tmp_path / "two")
    torch.testing.assert_close(logits(tmp_path / "two"), logits(source), atol=2e-4, rtol=2e-4)
    assert model_of(tmp_path / "two").config.num_hidden_layers == MOST_LAYERS


def test_too_few_parameters_are_refused_with_the_least(source: Path, tmp_path: Path) -> None:
    least = model_of(source).num_parameters()
    with pytest.raises(SettingsError, match=rf"--parameters must be at least {least:,}, .* got 1,000"):
        expand(source, 1000, tmp_path / "out")
    assert expand(source, least, tmp_path / "same") == least


def test_more_parameters_than_fit_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"--parameters 1e\+15 needs 2000000.0 GB, but"):
        expand(source, 10**15, tmp_path / "out")


@pytest.mark.parametrize("is_file", [True, False])
def test_a_target_that_holds_something_is_left_alone(source: Path, tmp_path: Path, is_file: bool) -> None:
    target = tmp_path / "out"
    if is_file:
        target.write_text("mine")
    else:
        target.mkdir()
        (target / "mine").touch()
    with pytest.raises(SettingsError, match="out exists and is not an empty directory"):
        expand(source, PARAMETERS, target)
    assert target.is_file() == is_file


def test_an_empty_target_is_used(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    expand(source, PARAMETERS, tmp_path / "out")
    assert (tmp_path / "out" / "config.json").is_file()


def test_a_damaged_source_is_named_and_nothing_is_left_behind(source: Path, tmp_path: Path) -> None:
    (source / "model.safetensors").write_bytes(b"no")
    with pytest.raises(WeightsError, match="source"):
        expand(source, PARAMETERS, tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists()
