"""What shared noise is worth: chances at one token, rounds over a text, and the same as drafting really does."""

from itertools import product
from math import prod

import numpy as np
import pytest
import torch
from cospec.engine.shared_noise import Chances, chances, expected_rounds, read_along, summary
from cospec.speculation.types import DraftRow, SamplingParameters
from tiny import Directory, drafter_engine, load, random_tokens

PROMPT = random_tokens(12, 3)
SAMPLING = SamplingParameters(temperature=0.7, seed=5)


def rounds_of(accepted: tuple[bool, ...], num_draft_tokens: int) -> int:
    """Counted one after another."""
    count = run = 0
    for hit in accepted:
        run = run + 1 if hit and run < num_draft_tokens else 0
        count += run == 0
    return count + (run > 0)


@pytest.mark.parametrize("num_draft_tokens", [1, 2, 5])
def test_expected_rounds_are_the_mean_over_everything_that_may_happen(num_draft_tokens: int) -> None:
    each = (0.9, 0.2, 0.7, 1.0, 0.5, 0.0, 0.8)
    expected = sum(
        rounds_of(hits, num_draft_tokens)
        * prod(chance if hit else 1 - chance for hit, chance in zip(hits, each, strict=True))
        for hits in product((True, False), repeat=len(each))
    )
    assert expected_rounds(each, num_draft_tokens) == pytest.approx(expected)


def test_chances_are_those_of_the_three_ways_to_draft() -> None:
    target, draft = torch.tensor([0.6, 0.4]).log(), torch.tensor([0.3, 0.7]).log()
    assert chances(target, draft, token=0, guess=1, temperature=1.0) == pytest.approx((0.0, 0.5, 0.3))
    assert chances(target, draft, token=1, guess=1, temperature=1.0) == pytest.approx((1.0, 1.0, 0.7))
    assert chances(target, draft, token=0, guess=1, temperature=0.0) == (0.0, 0.0, 0.0)


def test_a_drafter_that_is_the_verifier_agrees_always_with_shared_noise(checkpoint: Directory) -> None:
    model = load(checkpoint("llama"))
    found = read_along(model, load(checkpoint("llama")), PROMPT.tolist(), 20, SAMPLING)
    assert len(found) == 20
    assert all(each.shared == 1 and each.ratio_test > 0.999 for each in found)
    assert min(each.matched for each in found) < 0.9


@pytest.mark.parametrize("seed", range(4))
def test_a_first_round_accepts_what_reading_along_foretold(checkpoint: Directory, seed: int) -> None:
    sampling = SamplingParameters(temperature=0.7, seed=seed)
    found = read_along(load(checkpoint("llama")), load(checkpoint("llama")), PROMPT.tolist(), 6, sampling)
    other = read_along(load(checkpoint("llama")), load(checkpoint("qwen2")), PROMPT.tolist(), 6, sampling)
    for name, flags in (("llama", found), ("qwen2", other)):
        drafter = drafter_engine(checkpoint(name))
        [draft] = drafter.draft([DraftRow(1, 0, np.asarray(PROMPT), 6, sampling)])
        [truth] = drafter_engine(checkpoint("llama")).draft([DraftRow(1, 0, np.asarray(PROMPT), 6, sampling)])
        hits = [guess == token for guess, token in zip(draft.tree.tokens, truth.tree.tokens, strict=True)]
        run = hits.index(False) if False in hits else len(hits)
        shared = [bool(each.shared) for each in flags]
        assert (shared.index(False) if False in shared else len(shared)) == run


def test_a_summary_pools_rounds_and_not_ratios() -> None:
    never, always = [Chances(0, 0, 0)] * 6, [Chances(1, 1, 1)] * 6
    found = summary(0.7, [never, always], num_draft_tokens=2)
    assert found["shared_acceptance_length"] == 1.5  # twelve tokens in six rounds and two
    assert found["ratio_test_agreement"] == 0.5
