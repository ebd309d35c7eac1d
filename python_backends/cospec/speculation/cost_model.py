"""What a stage of a round costs, learnt from the rounds themselves."""

import numpy as np
from numpy.typing import NDArray

# Of a call, a row, a token, and a token's 1,000 context tokens, in seconds: a first guess, and how far it may be wrong.
# Without the second, rounds of one request could not tell a call's cost from a row's, and large groups would look dear.
GUESS = np.asarray([5e-3, 1e-4, 2e-5, 0.0])
DOUBT = np.asarray([2e-2, 1e-3, 2e-4, 2e-4])
NOISE = 2e-3  # seconds, of one round
MEMORY = 0.995  # of earlier rounds, a round later


class StageCost:
    """Seconds of one call = fixed + per row + per token + per token and context.

    Bayesian linear regression with fading evidence: as recursive least squares, but what the rounds have not shown
    stays near the guess.
    """

    def __init__(self) -> None:
        self._weights = GUESS
        self._evidence = np.zeros((len(GUESS), len(GUESS)))
        self._seen = np.zeros(len(GUESS))

    def seconds(self, rows: int, tokens: int, longest: int) -> float:
        """`tokens`: read by the call, over all rows; `longest`: tokens of the longest row's context."""
        return float(_features(rows, tokens, longest) @ self._weights)

    def observe(self, rows: int, tokens: int, longest: int, seconds: float) -> None:
        features = _features(rows, tokens, longest)
        self._evidence = MEMORY * self._evidence + np.outer(features, features)
        self._seen = MEMORY * self._seen + features * (seconds - features @ GUESS)
        certainty = np.diag((NOISE / DOUBT) ** 2)
        self._weights = np.maximum(GUESS + np.linalg.solve(self._evidence + certainty, self._seen), 0.0)


def _features(rows: int, tokens: int, longest: int) -> NDArray[np.float64]:
    return np.asarray([1.0, rows, tokens, tokens * longest / 1000])
