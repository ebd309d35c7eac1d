"""What other systems do instead of `controller.Adaptive`, behind the same interface and on the same cost model.

All draft chains with one drafter each, the one that routing finds best: better than what these systems had.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from cospec.speculation.controller import Decision, Occasion, plain_rate
from cospec.speculation.cost_model import CostModel, DraftWork, VerifyWork

PLAIN_BONUS = 1.1  # SmartSpec: times what plain decoding seems to be worth
EVERY = 20  # SmartSpec: rounds between two decisions


class Off:
    chains = True

    def decide(self, occasion: Occasion, costs: CostModel) -> Decision:
        return Decision((0,) * len(occasion.outlooks))


class Fixed:
    """So many draft tokens always."""

    chains = True

    def __init__(self, depth: int) -> None:
        self._depth = depth

    def decide(self, occasion: Occasion, costs: CostModel) -> Decision:
        return _all_to(self._depth, occasion)


class Schedule:
    """By the number of sequences in the batch (vLLM's `num_speculative_tokens_per_batch_size`)."""

    chains = True

    def __init__(self, depths: Mapping[int, int]) -> None:
        """Batch size up to which -> draft tokens; beyond the largest, none."""
        self._depths = sorted(depths.items())

    def decide(self, occasion: Occasion, costs: CostModel) -> Decision:
        size = len(occasion.outlooks)
        return _all_to(next((depth for most, depth in self._depths if size <= most), 0), occasion)


class SmartSpec:
    """The one length of the best goodput, from one acceptance rate for all, decided anew now and then (Liu 2024)."""

    chains = True

    def __init__(self) -> None:
        self._rounds = 0
        self._depth = 0

    def decide(self, occasion: Occasion, costs: CostModel) -> Decision:
        if self._rounds % EVERY == 0:
            self._depth = self._best(occasion, costs)
        self._rounds += 1
        return _all_to(self._depth, occasion)

    def _best(self, occasion: Occasion, costs: CostModel) -> int:
        chance = float(np.mean([outlook.chance for outlook in occasion.outlooks]))
        best, goodput = 0, PLAIN_BONUS * plain_rate(occasion, costs)
        for depth in range(1, _deepest(occasion) + 1):
            promised = _goodput([chance] * len(occasion.outlooks), depth, occasion, costs)
            if promised < goodput and depth > 1:
                return best
            if promised >= goodput:
                best, goodput = depth, promised
        return best


class AdaSpec:
    """One length for all, as deep as goodput is expected to grow with each sequence's own confidence; then the least
    confident draft tokens are left out where that pays (AdaSpec, sections on drafter and verifier).

    Its drafter looks at real confidences between any two of its steps; ours drafts in one call, where a draft that
    has become improbable ends by itself.
    """

    chains = True

    def decide(self, occasion: Occasion, costs: CostModel) -> Decision:
        chances = [outlook.chance for outlook in occasion.outlooks]
        best, goodput = 0, plain_rate(occasion, costs)
        for depth in range(1, _deepest(occasion) + 1):
            promised = _goodput(chances, depth, occasion, costs)
            if promised <= goodput:
                break
            best, goodput = depth, promised
        decision = _all_to(best, occasion)
        return Decision(decision.depths, 0.0, goodput, goodput) if best else decision


def _all_to(depth: int, occasion: Occasion) -> Decision:
    return Decision(tuple(min(depth, outlook.deepest) for outlook in occasion.outlooks))


def _deepest(occasion: Occasion) -> int:
    return max((outlook.deepest for outlook in occasion.outlooks), default=0)


def _goodput(chances: Sequence[float], depth: int, occasion: Occasion, costs: CostModel) -> float:
    """Tokens per second with chains of this depth for all."""
    rows, verify = len(chances), occasion.verify
    values = np.asarray(chances)
    tokens = float(((1 - values ** (depth + 1)) / (1 - values)).sum())
    drafting = costs.draft_seconds(DraftWork(min(rows, occasion.num_drafters), rows, depth, rows * depth))
    verifying = costs.verify_seconds(VerifyWork(rows, verify.tokens + rows * depth, verify.longest))
    return tokens / (drafting + verifying + costs.between_seconds(rows))
