"""The text classifier that routes a request's first round: token counts, and two numbers fitted on held-out text."""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cospec.speculation.routing_prior import RoutingPrior
from cospec.training.windows import (
    Document,
    Documents,
    Window,
    after_prompts,
    after_switches,
    within_responses,
)

SMOOTHING = 300.0  # tokens of the mean of all domains that each domain is given, so that rare tokens say little
HELD_OUT = 100  # documents of a domain that are not counted, at most; a tenth of a small one
TEMPERING = (0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0)  # tokens are not independent: all their evidence at once is too much
CHANGES = (0.001, 0.003, 0.01, 0.03)
SWITCH_TOKENS = (8, 16, 24, 32)  # of the new subject, that windows after a switch hold

Floats = NDArray[np.float64]


def train_routing_prior(
    documents: Documents, vocabulary_size: int, special_tokens: Sequence[int], seed: int
) -> RoutingPrior:
    """`special_tokens` tell nothing: every prompt has them."""
    rng = np.random.default_rng(seed)
    counted, held_out = _hold_out(documents, rng)
    weights = token_weights(counted, vocabulary_size, special_tokens)
    return _temper(tuple(counted), weights, _groups(held_out, rng))


def token_weights(documents: Documents, vocabulary_size: int, special_tokens: Sequence[int]) -> Floats:
    """[vocabulary, domains] log-probability of a token in a domain, less its mean over the domains."""
    frequencies = np.stack([_frequencies(group, vocabulary_size, special_tokens) for group in documents.values()], 1)
    totals = np.asarray([_num_tokens(group) for group in documents.values()])
    mean = frequencies.mean(1, keepdims=True) + 1 / (vocabulary_size * totals.sum())
    logs: Floats = np.log((frequencies * totals + SMOOTHING * mean) / (totals + SMOOTHING))
    weights: Floats = logs - logs.mean(1, keepdims=True)
    weights[list(special_tokens)] = 0
    return weights


def accuracy(prior: RoutingPrior, windows: Sequence[Window]) -> float:
    """Share of windows whose domain is the most probable one."""
    found = prior.probabilities([window.tokens for window in windows])
    right = [max(each, key=each.__getitem__) == window.domain for each, window in zip(found, windows, strict=True)]
    return sum(right) / len(windows)


def _hold_out(documents: Documents, rng: np.random.Generator) -> tuple[Documents, Documents]:
    """Documents to count, and documents to fit on."""
    counted: dict[str, Sequence[Document]] = {}
    held_out: dict[str, Sequence[Document]] = {}
    for domain, group in documents.items():
        shuffled = [group[i] for i in rng.permutation(len(group))]
        size = min(HELD_OUT, -(-len(group) // 10))
        counted[domain], held_out[domain] = shuffled[size:], shuffled[:size]
    return counted, held_out


def _groups(documents: Documents, rng: np.random.Generator) -> list[list[Window]]:
    """Prompts, answers and switches, which count the same."""
    switches = [window for count in SWITCH_TOKENS for window in after_switches(documents, count, rng)]
    return [group for group in (after_prompts(documents), within_responses(documents, rng), switches) if group]


def _temper(domains: tuple[str, ...], weights: Floats, groups: Sequence[Sequence[Window]]) -> RoutingPrior:
    """The prior that finds the held-out windows' domains the least surprising."""
    choices = [
        RoutingPrior(domains, (share * weights).astype(np.float32), change)
        for share, change in itertools.product(TEMPERING, CHANGES)
    ]
    shown = tqdm(choices, desc="fitting the routing prior", unit="choice")
    return min(shown, key=lambda prior: sum(_surprise(prior, group) for group in groups))


def _surprise(prior: RoutingPrior, windows: Sequence[Window]) -> float:
    """Mean, in nats."""
    found = prior.probabilities([window.tokens for window in windows])
    chances = [each[window.domain] for each, window in zip(found, windows, strict=True)]
    return float(-np.log(np.maximum(chances, 1e-9)).mean())


def _frequencies(group: Sequence[Document], vocabulary_size: int, special_tokens: Sequence[int]) -> Floats:
    """[vocabulary] of prompts and responses, which count the same however long they are."""
    prompts = _counts([document.prompt for document in group], vocabulary_size)
    responses = _counts([document.response for document in group], vocabulary_size)
    prompts[list(special_tokens)] = 0
    frequencies: Floats = (prompts / max(1, prompts.sum()) + responses / max(1, responses.sum())) / 2
    return frequencies


def _counts(texts: Sequence[Sequence[int]], vocabulary_size: int) -> Floats:
    return np.bincount(np.concatenate(texts).astype(np.intp), minlength=vocabulary_size).astype(np.float64)


def _num_tokens(group: Sequence[Document]) -> int:
    return sum(len(document.prompt) + len(document.response) for document in group)
