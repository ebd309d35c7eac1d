"""What a text's own words tell of its domain: naive Bayes over its latest tokens, in which the subject may change once.

Plain naive Bayes counts all tokens of a window alike, so it holds to the old subject until the new one fills half of
it. Here a window is of one domain, or of any domain up to some token and of another one from there on; all places where
that may be are added up. So a long window serves a text of one subject, and a change still shows within a dozen tokens
(`python -m cospec.training.priors` measures it).
"""

import math
from collections.abc import Sequence as Rows
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class RoutingPrior:
    """A `TextPrior` of a few numbers for each token of the verifier's vocabulary."""

    domains: tuple[str, ...]  # named like the drafters
    weights: Floats  # [vocabulary, domains] nats by which a token speaks for a domain, beside the other domains
    change: float  # probability that the subject changes at a given token

    def probabilities(self, texts: Rows[Rows[int]]) -> list[dict[str, float]]:
        """Of each domain, at the end of each text, of which there is at least one token."""
        lengths = np.asarray([len(tokens) for tokens in texts])
        there = np.arange(-lengths.max(), 0) >= -lengths[:, None]
        evidence = np.zeros((*there.shape, len(self.domains)), dtype=self.weights.dtype)
        evidence[there] = self.weights[np.concatenate(texts)]
        scores = self._scores(evidence, there)
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        return [dict(zip(self.domains, row, strict=True)) for row in shares.tolist()]

    def _scores(self, evidence: Floats, there: NDArray[np.bool_]) -> Floats:
        """[texts, domains] from [texts, tokens, domains], both in nats; `there` [texts, tokens]: is no padding."""
        read = evidence.cumsum(axis=1)
        whole, before = read[:, -1], read[:, :-1]
        any_domain = _log_sum_exp(before, axis=2) - math.log(len(self.domains))
        changes = np.zeros_like(read)  # first: there was no change; then: the old subject ended with the token before
        changes[:, 1:] = np.where(there[:, :-1, None], math.log(self.change) + any_domain - before, -np.inf)
        scores: Floats = whole + _log_sum_exp(changes, axis=1)[:, 0]
        return scores


def _log_sum_exp(values: Floats, axis: int) -> Floats:
    """The axis stays, with a length of 1."""
    most = values.max(axis=axis, keepdims=True)
    sums: Floats = most + np.log(np.exp(values - most).sum(axis=axis, keepdims=True))
    return sums
