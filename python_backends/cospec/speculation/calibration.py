"""Calibrated confidence: what a drafter's margin has been worth, learnt from the verifier's own choices.

Chance that the verifier chooses a node, its parent being accepted = sigmoid(slope * margin + intercept). Raw
confidences of several drafters cannot be compared: the over-confident one would always win.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from cospec.speculation.types import MOST_NATS, StopRule

MEMORY = 5_000  # observations after which an old one counts 1/e
PRIOR = 10 / 4  # curvature of ten tosses of a coin, which never fades: margins may all be alike
LEAST_SLOPE = 1e-6  # a greater lead never makes a token less probable, and an infinite one is no doubt

Hit = tuple[float, bool]  # a node's margin, its parent being accepted, and whether the verifier chose it


class Calibrator:
    """Online logistic regression of hits on margins: one Newton step a round, older rounds fading."""

    def __init__(self, slope: float = 2.0, intercept: float = -0.5) -> None:
        self.slope, self.intercept = slope, intercept
        self._curvature = 0.0, 0.0, 0.0  # by the slope twice, by both, by the intercept twice

    def chances(self, margins: Iterable[float]) -> list[float]:
        """Of margins in nats."""
        rule = self.stop_rule(0.0)
        return [rule.chance(margin) for margin in margins]

    def stop_rule(self, below: float) -> StopRule:
        """For the drafter itself, which then knows what its margins mean."""
        return StopRule(below, self.slope, self.intercept)

    def observe(self, hits: Sequence[Hit]) -> None:
        fading, rule = math.exp(-len(hits) / MEMORY), self.stop_rule(0.0)
        squares, crosses, ones = (fading * each for each in self._curvature)
        by_slope = by_intercept = 0.0  # the gradient
        for margin, hit in hits:
            bounded = max(-MOST_NATS, min(MOST_NATS, margin))
            chance = rule.chance(bounded)
            error, variance = hit - chance, chance * (1 - chance)
            by_slope, by_intercept = by_slope + error * bounded, by_intercept + error
            squares, crosses, ones = squares + variance * bounded**2, crosses + variance * bounded, ones + variance
        self._curvature = squares, crosses, ones
        self._step(by_slope, by_intercept)

    def _step(self, by_slope: float, by_intercept: float) -> None:
        """Newton's."""
        squares, crosses, ones = self._curvature[0] + PRIOR, self._curvature[1], self._curvature[2] + PRIOR
        determinant = squares * ones - crosses**2
        self.slope = max(LEAST_SLOPE, self.slope + (ones * by_slope - crosses * by_intercept) / determinant)
        self.intercept += (squares * by_intercept - crosses * by_slope) / determinant


class Calibration:
    """A calibrator per drafter, and per kind of sampling: below a temperature margins are those of noisy scores."""

    def __init__(self) -> None:
        self._calibrators: defaultdict[tuple[str, bool], Calibrator] = defaultdict(Calibrator)

    def of(self, drafter: str, greedy: bool) -> Calibrator:
        return self._calibrators[drafter, greedy]
