"""The compiled forward is the eager one, for every shape; its artefacts are kept by all that they depend on."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cospec.config import ModelSettings, Settings, with_verifier
from cospec.engine import artefacts
from cospec.engine.artefacts import missing_artefacts
from cospec.engine.blocks import Part, assemble
from cospec.engine.checkpoints import load_weights
from cospec.engine.compiled import in_company, load_compiled, load_forward
from cospec.engine.compiling import compile_forward, drop_unused
from cospec.engine.drafter import DrafterEngine
from cospec.engine.language_model import LanguageModel
from cospec.engine.quantized import quantize
from cospec.engine.sessions import SessionTable
from cospec.engine.tiled_linear import tiled
from cospec.processor import multiplies_in_tiles
from cospec.speculation.types import DraftRow, DraftTree, SamplingParameters
from tiny import Directory, needs_tiles, random_tokens

TREE = DraftTree((5, 6, 7), (-1, -1, 0))
SETTINGS = ModelSettings(dtype="float32", num_slots=8, max_length=64, quantize="int8")
CPU = torch.device("cpu")


@pytest.mark.usefixtures("loaded_kernels")
def test_every_shape_of_block_gives_the_eager_logits(checkpoint: Directory, tmp_path: Path) -> None:
    weights = load_weights(checkpoint("qwen3"), torch.float32, CPU, 64)
    compile_forward(weights, 8, 64, tmp_path / "x.pt2")
    eager = LanguageModel(weights, 8, 64)
    loaded = load_forward(tmp_path / "x.pt2")
    assert (loaded.architecture, loaded.dtype, loaded.device) == (weights.architecture, weights.dtype, CPU)
    compiled = LanguageModel(replace(loaded, step=in_company(loaded.step)), 8, 64)
    tokens = random_tokens(30)
    for parts in (
        [Part(slot, 0, tokens[slot:20]) for slot in range(8)],
        [Part(3, 17, tokens[:1])],
        [Part(3, 18, tokens[:2], TREE)],
        [Part(0, 20, tokens[:1]), Part(5, 15, tokens[:1])],
        [Part(1, 19, tokens[:4], TREE), Part(2, 18, tokens[:1]), Part(7, 13, tokens[:9])],
    ):
        expected = eager.logits(assemble(eager, parts))
        torch.testing.assert_close(compiled.logits(assemble(compiled, parts)), expected, atol=1e-4, rtol=1e-4)
    for ours, theirs in zip(compiled.cache.layers, eager.cache.layers, strict=True):
        torch.testing.assert_close(ours[:, :64], theirs[:, :64], atol=1e-4, rtol=1e-4)
    beam = DraftRow(1, 0, tokens[:12], 6, SamplingParameters(), width=3, branching=2)
    engines = [DrafterEngine(model, SessionTable(8, 60.0, time.monotonic), 256) for model in (compiled, eager)]
    [drawn], [awaited] = (engine.draft([beam]) for engine in engines)
    assert (drawn.tree.tokens, drawn.tree.parents) == (awaited.tree.tokens, awaited.tree.parents)


@needs_tiles
@pytest.mark.usefixtures("loaded_kernels")
def test_in_bfloat16_too_a_token_is_the_same_to_the_bit_in_every_company(checkpoint: Directory, tmp_path: Path) -> None:
    weights = load_weights(checkpoint("llama with wide heads"), torch.bfloat16, CPU, 200)
    compile_forward(tiled(weights), 8, 200, tmp_path / "x.pt2")
    model = LanguageModel(load_forward(tmp_path / "x.pt2"), 8, 200)
    tokens = random_tokens(60)
    alone = model.logits(assemble(model, [Part(0, 0, tokens)], [range(60)]))
    tree = DraftTree((7, *tokens[51:53].tolist(), 8, int(tokens[53])), (-1, -1, 1, 1, 2))
    for part, first, end in (
        (Part(3, 0, tokens[:25]), 0, 25),
        (Part(3, 25, tokens[25:26]), 25, 26),
        (Part(3, 26, tokens[26:50]), 26, 50),
        (Part(3, 50, tokens[50:51]), 50, 51),
        (Part(3, 51, tokens[51:]), 51, 60),
    ):
        others = [Part(slot, 0, random_tokens(40 + slot)) for slot in (1, 4, 5)]
        logits = model.logits(assemble(model, [*others, part], [range(2)] * 3 + [range(end - first)]))
        assert torch.equal(logits[6:], alone[first:end])
    beside_siblings = model.logits(assemble(model, [Part(5, 0, random_tokens(9)), Part(3, 50, tokens[50:51], tree)]))
    assert torch.equal(beside_siblings[[1, 3, 4, 6]], alone[50:54])


def test_int8_weights_stay_near(checkpoint: Directory) -> None:
    weights = load_weights(checkpoint("qwen2"), torch.float32, CPU, 64)
    exact, rounded = LanguageModel(weights, 2, 64), LanguageModel(quantize(weights), 2, 64)
    block = assemble(exact, [Part(0, 0, random_tokens(3))])
    error = (exact.logits(block) - rounded.logits(block)).abs().mean()
    assert 0 < error < 0.05 * exact.logits(block).abs().mean()


def test_an_artefact_is_missing_until_made_and_again_when_anything_changes(
    checkpoint: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(artefacts.CACHE_VARIABLE, str(tmp_path / "cache"))
    (tmp_path / "verifier" / "1").mkdir(parents=True)
    weights = tmp_path / "verifier" / "1" / "weights"
    weights.symlink_to(checkpoint("llama"))
    settings = Settings(drafters=())
    missing = list(missing_artefacts(settings, tmp_path))
    assert [artefact.path.suffix for artefact in missing] == [".so", ".pt2"]
    missing[0].path.parent.mkdir()
    for artefact in missing:
        artefact.path.touch()
    assert not list(missing_artefacts(settings, tmp_path))
    assert not list(missing_artefacts(with_verifier(settings, checkpoint("llama")), tmp_path))  # it lies elsewhere
    other = replace(settings.engine, verifier=replace(settings.engine.verifier, num_threads=3))
    assert list(missing_artefacts(replace(settings, engine=other), tmp_path))
    assert not list(missing_artefacts(replace(settings, engine=replace(other, compile="never")), tmp_path))
    assert not list(missing_artefacts(replace(settings, engine=replace(other, device="cuda")), tmp_path))


def test_in_tiles_one_int8_forward_serves_every_number_of_tokens(checkpoint: Directory) -> None:
    def quantized(dtype: str) -> list[bool]:
        settings = replace(SETTINGS, dtype=dtype)
        return [forward.quantized for forward in artefacts.compiled_forwards(checkpoint("llama"), settings)]

    assert quantized("float32") == [False, True]
    assert quantized("bfloat16") == ([True] if multiplies_in_tiles() else [False, True])


@pytest.mark.parametrize(
    "module, heavy",
    [
        ("cospec.engine.building", ("transformers", "torch._dynamo", "torch._inductor")),
        ("cospec.engine.vocabulary", ("torch",)),
    ],
)
def test_a_models_process_starts_without_what_takes_seconds_to_import(module: str, heavy: tuple[str, ...]) -> None:
    look = f"import sys, {module}; sys.exit(', '.join(set(sys.modules) & set({heavy!r})) or None)"
    subprocess.run([sys.executable, "-c", look], check=True)


def test_artefacts_that_nobody_loads_are_dropped(tmp_path: Path) -> None:
    for name, age in (("old.pt2", 31), ("old.so", 31), ("new.pt2", 29), ("other", 99)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, time.time() - age * 86400))
    drop_unused(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.pt2", "other"]


def test_without_artefacts_the_eager_forward_serves(
    checkpoint: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(artefacts.CACHE_VARIABLE, str(tmp_path))
    assert load_compiled(checkpoint("llama"), SETTINGS) is None


@pytest.mark.usefixtures("loaded_kernels")
def test_a_cache_of_one_slot_is_compiled_for_as_well(checkpoint: Directory, tmp_path: Path) -> None:
    weights = load_weights(checkpoint("qwen2"), torch.float32, CPU, 64)
    compile_forward(weights, 1, 64, tmp_path / "x.pt2")
    eager, compiled = LanguageModel(weights, 1, 64), LanguageModel(load_forward(tmp_path / "x.pt2"), 1, 64)
    parts = [Part(0, 0, random_tokens(9))]
    expected = eager.logits(assemble(eager, parts))
    torch.testing.assert_close(compiled.logits(assemble(compiled, parts)), expected, atol=1e-4, rtol=1e-4)
