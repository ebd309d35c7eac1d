"""The operator in C++ gives what PyTorch's operators give, for every rule, and for rows of different rules together."""

import pytest
import torch
from cospec.engine.perturb import composite_perturb, perturb
from torch import Tensor

VOCAB = 1000  # not a multiple of what is done at once
NOTHING = None, None

pytestmark = pytest.mark.usefixtures("loaded_kernels")


def random_logits(rows: int, spread: float = 3.0) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(rows, VOCAB) * spread


def both(
    logits: Tensor, temperature: float | Tensor, top_k: Tensor | None, top_p: Tensor | None
) -> tuple[Tensor, Tensor]:
    rows = len(logits)
    seeds = torch.arange(rows) * 2**40 - 3
    rules = torch.as_tensor(temperature).expand(rows).contiguous(), top_k, top_p, seeds, torch.arange(rows) + 7
    return perturb(logits, *rules), composite_perturb(logits, *rules)


def assert_alike(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=2e-6)


def on_the_edge(logits: Tensor, temperature: float, top_k: int | None, top_p: float | None) -> Tensor:
    """Entries before which so nearly the share is reached that the rounding of sums, each processor's own, decides."""
    if top_p is None or not temperature:
        return torch.zeros_like(logits, dtype=torch.bool)
    ordered, order = (logits.double() / temperature).sort(descending=True, stable=True)
    ordered[:, top_k or VOCAB :] = -torch.inf
    before = ordered.softmax(-1).cumsum(-1).roll(1, -1)
    near = (before - top_p).abs() < 2e-6
    return torch.zeros_like(near).scatter_(-1, order, near)


@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("top_k", [None, 1, 40, VOCAB, 5 * VOCAB])
@pytest.mark.parametrize("top_p", [None, 0.3, 0.95, 0.9999])
def test_every_rule(temperature: float, top_k: int | None, top_p: float | None) -> None:
    logits = random_logits(30)
    limits = None if top_k is None else torch.full((30,), top_k)
    shares = None if top_p is None else torch.full((30,), top_p)
    found, expected = both(logits, temperature, limits, shares)
    edge = on_the_edge(logits, temperature, top_k, top_p)
    assert edge.float().mean() < 0.01
    assert_alike(torch.where(edge, expected, found), expected)
    without_share, _ = both(logits, temperature, limits, None)
    assert_alike(torch.where(edge & found.isfinite(), found, without_share), without_share)


def test_rows_of_different_rules() -> None:
    temperature, top_k = torch.tensor([0.0, 0.7, 1.0, 1.3]), torch.tensor([5, 0, 3, 0])
    top_p = torch.tensor([0.5, 1.0, 1.0, 0.4])
    found, expected = both(random_logits(4), temperature, top_k, top_p)
    assert_alike(found, expected)
    assert found.isfinite().sum(1).tolist()[:3] == [VOCAB, VOCAB, 3]


@pytest.mark.parametrize("top_p", [1e-6, 0.5, 0.999])
def test_scores_that_are_nearly_all_equal_are_cut_where_the_share_is_reached(top_p: float) -> None:
    logits = torch.zeros(1, VOCAB)
    logits[0, 500] = 1e-3
    found, _ = both(logits, 1.0, None, torch.tensor([top_p]))
    assert found[0, 500].isfinite()
    assert int(found.isfinite().sum()) == pytest.approx(max(1, top_p * VOCAB), abs=2)


def test_of_equal_scores_the_first_are_in() -> None:
    found, expected = both(torch.zeros(1, VOCAB), 1.0, torch.tensor([10]), None)
    assert_alike(found, expected)
    assert found[0, :10].isfinite().all() and not found[0, 10:].isfinite().any()


@pytest.mark.parametrize("rule", [NOTHING, (torch.tensor([990]), None), (None, torch.tensor([0.9]))])
def test_what_is_banned_stays_banned(rule: tuple[Tensor | None, Tensor | None]) -> None:
    logits = random_logits(1)
    logits[:, ::3] = -torch.inf
    found, expected = both(logits, 0.8, *rule)
    assert_alike(found, expected)
    assert not found[:, ::3].isfinite().any()


def test_the_logits_are_left_as_they_are_and_a_row_is_the_same_in_every_company() -> None:
    logits = random_logits(40)
    before, (together, _) = logits.clone(), both(logits, 0.8, None, torch.full((40,), 0.9))
    assert torch.equal(logits, before)
    alone, _ = both(logits[:1], 0.8, None, torch.tensor([0.9]))
    assert torch.equal(together[:1], alone)


@pytest.mark.parametrize("rule", [NOTHING, (torch.tensor([3, 3]), None), (None, torch.tensor([0.9, 0.9]))])
@pytest.mark.parametrize("broken", [torch.nan, torch.inf, -torch.inf])
def test_a_row_that_is_no_distribution_harms_no_other(broken: float, rule: tuple[Tensor | None, Tensor | None]) -> None:
    logits = random_logits(2)
    logits[0] = broken
    found, expected = both(logits, 0.8, *rule)
    assert_alike(found[1], expected[1])
    assert 0 <= int(found[0].argmax()) < VOCAB
