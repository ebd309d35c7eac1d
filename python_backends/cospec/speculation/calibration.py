"""Calibrated confidence: what a drafter's margin has been worth, learnt from the verifier's own choices.

Chance that the verifier chooses a node, its parent being accepted = sigmoid(slope * margin + intercept). Raw
confidences of several drafters cannot be compared: the over-confident one would always win.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cospec.speculation.types import MOST_NATS, StopRule

MEMORY = 5_000  # observations after which an old one counts 1/e
PRIOR_STRENGTH = 10.0  # observations that the initial guess is worth


class Calibrator:
    """Online logistic regression of hits on margins: one Newton step a round, older rounds fading."""

    def __init__(self, slope: float = 2.0, intercept: float = -0.5) -> None:
        self._weights = np.asarray([slope, intercept])
        self._curvature = PRIOR_STRENGTH * np.eye(2) / 4  # a coin's variance

    @property
    def slope(self) -> float:
        return float(self._weights[0])

    @property
    def intercept(self) -> float:
        return float(self._weights[1])

    def chances(self, margins: Iterable[float]) -> list[float]:
        """Of margins in nats."""
        rule = self.stop_rule(0.0)
        return [rule.chance(margin) for margin in margins]

    def stop_rule(self, below: float) -> StopRule:
        """For the drafter itself, which then knows what its margins mean."""
        return StopRule(below, self.slope, self.intercept)

    def observe(self, margins: NDArray[Any], hits: NDArray[np.bool_]) -> None:
        """Nodes whose parents were accepted, and whether the verifier chose them."""
        bounded = np.clip(margins, -MOST_NATS, MOST_NATS)
        features = np.stack([bounded, np.ones_like(bounded)], axis=1)
        chances = np.asarray(self.chances(bounded.tolist()))
        variances = chances * (1 - chances)
        self._curvature *= np.exp(-len(hits) / MEMORY)
        self._curvature += (features * variances[:, None]).T @ features
        self._weights = self._weights + np.linalg.solve(self._curvature, features.T @ (hits - chances))
        self._weights[0] = max(self._weights[0], 0.0)  # a greater lead never makes a token less probable


class Calibration:
    """A calibrator per drafter, and per kind of sampling: below a temperature margins are those of noisy scores."""

    def __init__(self) -> None:
        self._calibrators: defaultdict[tuple[str, bool], Calibrator] = defaultdict(Calibrator)

    def of(self, drafter: str, greedy: bool) -> Calibrator:
        return self._calibrators[drafter, greedy]
