"""Our forward against transformers' own, for every family."""

import itertools

import numpy as np
import pytest
import torch
from cospec.engine.blocks import Part, assemble
from cospec.engine.language_model import LanguageModel
from cospec.speculation.types import DraftTree
from tiny import FAMILIES, Directory, load, random_tokens
from transformers import AutoModelForCausalLM

TREE = DraftTree((5, 6, 7, 8, 9, 10), (-1, -1, 0, 0, 2, 1))
PATHS = ([0], [1], [0, 2], [0, 3], [0, 2, 4], [1, 5])


def reference(directory, tokens: np.ndarray) -> torch.Tensor:  # type: ignore[no-untyped-def]
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    with torch.inference_mode():
        return model(torch.from_numpy(tokens.astype(np.int64))[None]).logits[0]  # type: ignore[no-any-return]


def run(model: LanguageModel, *parts: Part) -> torch.Tensor:
    """Logits [parts, width, vocab]."""
    width = max(part.end - part.start for part in parts)
    return model.logits(assemble(model, parts, [range(width)] * len(parts))).unflatten(0, (len(parts), width))


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_transformers_own(checkpoint: Directory, family: str) -> None:
    tokens = random_tokens(40)
    assert_close(run(load(checkpoint(family)), Part(3, 0, tokens))[0], reference(checkpoint(family), tokens))


@pytest.mark.parametrize("family", FAMILIES)
def test_pieces_and_single_steps_over_the_cache_give_the_same_logits(checkpoint: Directory, family: str) -> None:
    tokens = random_tokens(40)
    model = load(checkpoint(family))
    bounds = [0, 17, 30, *range(31, 41)]
    pieces = [run(model, Part(2, a, tokens[a:b]))[0] for a, b in itertools.pairwise(bounds)]
    assert_close(torch.cat(pieces), reference(checkpoint(family), tokens))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_path_of_a_tree_is_seen_as_if_alone(checkpoint: Directory, family: str) -> None:
    tokens = random_tokens(20)
    model = load(checkpoint(family))
    run(model, Part(0, 0, tokens[:15]))
    logits = run(model, Part(0, 15, tokens[15:], TREE))[0]
    for path in PATHS:
        sequence = np.concatenate([tokens, np.asarray([TREE.tokens[node] for node in path], dtype=np.int32)])
        assert_close(logits[5 + path[-1]], reference(checkpoint(family), sequence)[-1])


def test_rows_of_unequal_length_and_scattered_slots_do_not_see_each_other(checkpoint: Directory) -> None:
    directory = checkpoint("llama")
    model = load(directory)
    sequences = {1: random_tokens(9, 1), 2: random_tokens(30, 2), 6: random_tokens(14, 3)}
    for slot, tokens in sequences.items():
        run(model, Part(slot, 0, tokens[:-slot]))
    logits = run(model, *(Part(slot, len(tokens) - slot, tokens[-slot:]) for slot, tokens in sequences.items()))
    for row, (slot, tokens) in enumerate(sequences.items()):
        assert_close(logits[row, :slot], reference(directory, tokens)[-slot:])


def test_an_accepted_path_moved_down_reads_as_if_written_there(checkpoint: Directory) -> None:
    directory = checkpoint("qwen3")
    tokens = random_tokens(12)
    model = load(directory)
    run(model, Part(4, 0, tokens, TREE))
    model.cache.move([(4, 14, 13), (4, 16, 14)])
    sequence = np.concatenate([tokens, np.asarray([5, 7, 9, 33], dtype=np.int32)])
    assert_close(run(model, Part(4, 15, sequence[-1:]))[0, 0], reference(directory, sequence)[-1])


def test_bfloat16_stays_near_float32(checkpoint: Directory) -> None:
    tokens = random_tokens(30)
    exact = run(load(checkpoint("llama")), Part(0, 0, tokens))
    rounded = run(load(checkpoint("llama"), dtype=torch.bfloat16), Part(0, 0, tokens))
    assert (exact - rounded).abs().mean() < 0.02 * exact.abs().mean() + 0.05
