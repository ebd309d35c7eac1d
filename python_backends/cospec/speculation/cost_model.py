"""What a stage of a round costs, learnt from the rounds themselves."""

import numpy as np
from numpy.typing import NDArray

PRIOR_SECONDS = (5e-3, 1e-4, 2e-5, 0.0)  # a first guess: of a call, a row, a token, and a token's 1,000 context tokens
PRIOR_STRENGTH = 1e-3
MEMORY = 0.995  # of earlier rounds, a round later


class StageCost:
    """Seconds of one call = fixed + per row + per token + per token and context, by recursive least squares."""

    def __init__(self) -> None:
        self._weights = np.asarray(PRIOR_SECONDS)
        self._information = PRIOR_STRENGTH * np.eye(len(PRIOR_SECONDS))

    def seconds(self, rows: int, tokens: int, longest: int) -> float:
        """`tokens`: read by the call, over all rows; `longest`: tokens of the longest row's context."""
        return max(0.0, float(_features(rows, tokens, longest) @ self._weights))

    def observe(self, rows: int, tokens: int, longest: int, seconds: float) -> None:
        features = _features(rows, tokens, longest)
        self._information = MEMORY * self._information + np.outer(features, features)
        self._information += (1 - MEMORY) * PRIOR_STRENGTH * np.eye(len(features))
        error = seconds - features @ self._weights
        self._weights = self._weights + np.linalg.solve(self._information, features * error)


def _features(rows: int, tokens: int, longest: int) -> NDArray[np.float64]:
    return np.asarray([1.0, rows, tokens, tokens * longest / 1000])
