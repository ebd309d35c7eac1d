"""The noise is uniform, independent of batch, and makes argmax a sample of the softmax."""

import numpy as np
import pytest
import torch
from cospec.engine.noise import gumbel_noise, hash_counters
from cospec.engine.sampling import SamplingBatch, choose_tokens, margins
from cospec.speculation.types import SamplingParameters
from scipy import stats

CPU = torch.device("cpu")
LOGITS = torch.tensor([1.0, 0.2, -0.5, 2.0, 0.0, -1.0])


def counters(count: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full((count,), seed), torch.arange(count)


def choose(parameters: SamplingParameters, count: int, logits: torch.Tensor = LOGITS) -> torch.Tensor:
    """One choice at each of `count` positions."""
    batch = SamplingBatch.from_parameters([parameters] * count, CPU)
    return choose_tokens(logits.repeat(count, 1), torch.arange(count), batch, [0])


def test_hashes_are_uniform_over_tokens_positions_and_seeds() -> None:
    along = {
        "tokens": hash_counters(*counters(1), 200_000).flatten(),
        "positions": hash_counters(*counters(50_000), 4)[:, 2],
        "seeds": hash_counters(torch.arange(50_000), torch.zeros(50_000, dtype=torch.int64), 4)[:, 2],
        "high seeds": hash_counters(torch.arange(50_000) << 40, torch.zeros(50_000, dtype=torch.int64), 4)[:, 2],
    }
    for name, values in along.items():
        uniform = values.numpy() / 2**32
        assert stats.kstest(uniform, "uniform").pvalue > 1e-4, name
        low_bits = np.bincount(values.numpy() & 0xFF, minlength=256)
        assert stats.chisquare(low_bits).pvalue > 1e-4, name


def test_neighbouring_counters_are_uncorrelated() -> None:
    grid = hash_counters(*counters(400), 400).numpy() / 2**32
    for shifted in (grid[1:, :], grid[:, 1:]):
        correlation = np.corrcoef(grid[: shifted.shape[0], : shifted.shape[1]].ravel(), shifted.ravel())[0, 1]
        assert abs(correlation) < 0.015


def test_noise_of_a_row_does_not_depend_on_its_batch() -> None:
    seeds, positions = torch.tensor([5, -1, 7]), torch.tensor([0, 900, 3])
    together = gumbel_noise(seeds, positions, 50)
    for row in range(3):
        assert torch.equal(gumbel_noise(seeds[row : row + 1], positions[row : row + 1], 50)[0], together[row])
    assert torch.isfinite(together).all()


def test_the_noise_is_what_it_was_in_every_earlier_version() -> None:
    """A fixed point: changing the hash would change the text of every stored seed."""
    assert hash_counters(torch.tensor([42]), torch.tensor([7]), 3).tolist() == [[2793991142, 2127203928, 2046239585]]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_are_the_softmax(temperature: float) -> None:
    count = 40_000
    observed = torch.bincount(choose(SamplingParameters(temperature, seed=3), count), minlength=6)
    expected = (LOGITS.double() / temperature).softmax(-1) * count
    assert stats.chisquare(observed.numpy(), expected.numpy()).pvalue > 1e-4


def test_greedy_is_argmax_also_beside_sampled_rows() -> None:
    rows = [SamplingParameters(0.0), SamplingParameters(1.5, seed=1), SamplingParameters(0.0)]
    batch = SamplingBatch.from_parameters(rows, CPU)
    tokens = choose_tokens(LOGITS.repeat(3, 1), torch.arange(3), batch, [])
    assert tokens[0] == tokens[2] == 3


def test_top_k_and_top_p_bound_the_support() -> None:
    assert set(choose(SamplingParameters(3.0, top_k=2), 3000).tolist()) == {0, 3}
    probabilities = LOGITS.softmax(-1)
    assert probabilities[3] < 0.6 < probabilities[3] + probabilities[0]
    assert set(choose(SamplingParameters(1.0, top_p=0.6), 3000).tolist()) == {0, 3}
    assert set(choose(SamplingParameters(1.0, top_p=1e-6), 300).tolist()) == {3}


def test_the_end_token_is_banned_where_it_may_not_be() -> None:
    logits = torch.tensor([9.0, 1.0, 0.0])
    parameters = SamplingParameters(0.0, eos_allowed_from=5)
    assert choose(parameters, 8, logits).tolist() == [1] * 5 + [0] * 3


def test_a_margin_is_the_lead_over_the_best_other_choice() -> None:
    assert margins(torch.tensor([[3.0, 2.5, 0.5], [1.0, 1.0, 1.0]])).tolist() == [[0.5, -0.5, -2.5], [0, 0, 0]]
    outside = torch.tensor([[3.0, -torch.inf]])  # the only choice that top-k leaves
    assert margins(outside).tolist() == [[torch.inf, -torch.inf]]
