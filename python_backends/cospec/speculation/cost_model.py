"""What the stages of a round cost: profiled once at start, then learnt from the rounds themselves (AdaSpec's efficiency
model).

Every stage is linear in a few features. The verifier's tokens come in stretches: the first ones ride along while its
weights are read from memory, the later ones cost arithmetic.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import mul
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Learnt = Mapping[str, Sequence[float]]  # stage -> weights of its features

STRETCHES = ((0, 8), (8, 16), (16, 64), (64, 1 << 30))  # of tokens in one forward: in each, one more costs as much
NOISE = 3e-4, 0.1  # standard deviation of one measurement: seconds, and its share
MEMORY = 0.995  # of earlier rounds, a round later
EVERY = 4  # rounds, in which weights are found anew: costs change slowly
TRUST = 0.2  # of a profile's measurement, beside a round's: machines change
SURPRISE = 3.0  # times the expected: more than this is a hiccup, and counts as this


@dataclass(frozen=True)
class VerifyWork:
    """A call to the verifier."""

    rows: int
    tokens: int  # read by one forward over all rows: contexts, and draft nodes
    longest: int  # tokens of the longest row
    steps: int = 1  # forwards of the call


@dataclass(frozen=True)
class DraftWork:
    """A drafting stage: every drafter's call, all at once."""

    drafters: int
    rows: int  # over all drafters
    steps: int  # forwards one after another: the deepest draft
    tokens: int  # read, over all rows: contexts, and draft tokens but each row's last


@dataclass
class LinearCost:
    """seconds = weights @ features, no weight below 0. Bayesian linear regression, where measurements that are noisy in
    proportion count in proportion; what was never measured stays near the guess."""

    guess: Floats  # seconds
    doubt: Floats  # how far it may be wrong
    weights: Floats = field(init=False)
    _coefficients: list[float] = field(init=False)
    _known: tuple[Floats, Floats] = field(init=False)  # evidence that lasts
    _recent: tuple[Floats, Floats] = field(init=False)  # evidence that fades
    _num_observed: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.use(self.guess)
        self._known = np.diag(self.doubt**-2.0), np.zeros_like(self.guess)
        self._recent = np.zeros((len(self.guess),) * 2), np.zeros_like(self.guess)

    def use(self, weights: Floats) -> None:
        self.weights = weights
        self._coefficients = weights.tolist()  # asked dozens of times a round, of few numbers: there NumPy is slow

    def seconds(self, features: Sequence[float]) -> float:
        seconds: float = sum(map(mul, self._coefficients, features))
        return seconds

    def learn(self, features: Floats, seconds: Floats) -> None:
        """Measurements that last: features [n, len(guess)], seconds [n]."""
        weighted = TRUST * features / _deviation(seconds)[:, None] ** 2
        evidence, seen = self._known
        self._known = evidence + weighted.T @ features, seen + weighted.T @ (seconds - features @ self.guess)
        self._solve()

    def observe(self, observed: Sequence[float], seconds: float) -> None:
        """One round's features and seconds, which fade."""
        bounded, features = min(seconds, SURPRISE * self.seconds(observed)), np.asarray(observed)
        weighted = features / _deviation(bounded) ** 2
        evidence, seen = self._recent
        residual = bounded - float(features @ self.guess)
        self._recent = MEMORY * evidence + np.outer(weighted, features), MEMORY * seen + weighted * residual
        self._num_observed += 1
        if self._num_observed % EVERY == 0:
            self._solve()

    def _solve(self) -> None:
        """Where a weight would be below 0, it is 0 and the others are found anew."""
        evidence, seen = (known + recent for known, recent in zip(self._known, self._recent, strict=True))
        target, free = seen + evidence @ self.guess, np.ones(len(seen), dtype=bool)
        while True:
            weights = np.zeros_like(target)
            weights[free] = np.linalg.solve(evidence[np.ix_(free, free)], target[free])
            if (weights >= 0).all():
                self.use(weights)
                return
            free &= weights > 0


class CostModel:
    """Of one orchestrator's verifier, drafters and own work, calls through Triton included."""

    def __init__(self) -> None:
        # A call, a forward, a row, a token in each stretch, a row's and a token's 1,000 tokens of context.
        self._verify = LinearCost(
            np.asarray([1e-3, 4e-3, 1e-4, *[1e-4] * len(STRETCHES), 0, 0]),
            np.asarray([1e-3, 2e-2, 1e-3, *[1e-3] * len(STRETCHES), 1e-3, 2e-4]),
        )
        # A stage, a drafter asked, a step, a drafter's step, a row, a token, one of a drafter's tokens.
        self._draft = LinearCost(
            np.asarray([1e-3, 5e-4, 5e-4, 0, 1e-4, 2e-5, 0]), np.asarray([1e-3, 1e-3, 1e-3, 1e-3, 5e-4, 1e-4, 1e-4])
        )
        self._between = LinearCost(np.asarray([5e-4, 1e-4]), np.asarray([1e-3, 3e-4]))  # a round, a row
        self._stages = {"verify": self._verify, "draft": self._draft, "between": self._between}

    def verify_seconds(self, work: VerifyWork) -> float:
        return self._verify.seconds(_verify_features(work))

    def verify_seconds_of(self, work: VerifyWork, tokens: NDArray[Any]) -> Floats:
        """[n], with each number of `tokens` [n] in place of the work's own."""
        seconds: Floats = _verify_matrix(work, tokens) @ self._verify.weights
        return seconds

    def draft_seconds(self, work: DraftWork) -> float:
        """Nothing where no model is asked: lookup costs next to nothing."""
        if not work.drafters:
            return 0.0
        return self._draft.seconds(_draft_features(work))

    def between_seconds(self, rows: int) -> float:
        """From the end of a round to its successor's first call: planning, streaming, taking over."""
        return self._between.seconds(_between_features(rows))

    def observe_verify(self, work: VerifyWork, seconds: float) -> None:
        self._verify.observe(_verify_features(work), seconds)

    def observe_draft(self, work: DraftWork, seconds: float) -> None:
        self._draft.observe(_draft_features(work), seconds)

    def observe_between(self, rows: int, seconds: float) -> None:
        self._between.observe(_between_features(rows), seconds)

    def learn(self, verify: Sequence[tuple[VerifyWork, float]], draft: Sequence[tuple[DraftWork, float]]) -> None:
        """A profile: work and the seconds that it took."""
        if verify:
            self._verify.learn(np.asarray([_verify_features(work) for work, _ in verify]), _seconds(verify))
        if draft:
            self._draft.learn(np.asarray([_draft_features(work) for work, _ in draft]), _seconds(draft))

    def learnt(self) -> Learnt:
        """What costs are taken to be by now."""
        return {stage: cost.weights.tolist() for stage, cost in self._stages.items()}

    def take_over(self, learnt: Learnt) -> None:
        """Another one's costs, until more is learnt. Raises `KeyError`, `ValueError` where they are of other stages or
        features."""
        for stage, cost in self._stages.items():
            weights = np.asarray(learnt[stage], dtype=np.float64)
            if weights.shape != cost.weights.shape:
                raise ValueError(f"{stage} has {len(cost.weights)} weights, not {len(weights)}")
            cost.use(weights)


def _verify_features(work: VerifyWork) -> list[float]:
    steps, tokens, context = work.steps, work.tokens, work.longest / 1000
    stretches = [steps * max(0, min(tokens, high) - low) for low, high in STRETCHES]
    each = steps * context
    return [1.0, steps, steps * work.rows, *stretches, work.rows * each, tokens * each]


def _verify_matrix(work: VerifyWork, tokens: NDArray[Any]) -> Floats:
    """[n, features] for `tokens` [n]."""
    low, high = np.asarray(STRETCHES).T
    features = np.tile(_verify_features(work), (len(tokens), 1))
    features[:, -2 - len(STRETCHES) : -2] = work.steps * (tokens[:, None].clip(low, high) - low)
    features[:, -1] = work.steps * tokens * work.longest / 1000
    return features


def _draft_features(work: DraftWork) -> list[float]:
    together, each = work.drafters * work.steps, work.tokens / work.drafters
    return [1.0, work.drafters, work.steps, together, work.rows, work.tokens, each]


def _between_features(rows: int) -> list[float]:
    return [1.0, rows]


def _seconds(measured: Sequence[tuple[Any, float]]) -> Floats:
    return np.asarray([seconds for _, seconds in measured])


def _deviation(seconds: Any) -> Any:
    absolute, relative = NOISE
    return absolute + relative * seconds
