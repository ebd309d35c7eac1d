"""What a draft of a sequence will be worth: its chance that one more draft token is accepted, all before it being.

Lengths of accepted drafts are close to geometric, so one number per sequence tells how many tokens a draft of any depth
brings (AdaSpec's expected tokens, before there are confidences). It counts how far drafts got, whatever ended them: the
verifier's choice, or the drafter's own doubt.
"""

from dataclasses import dataclass

STRENGTH = 8.0  # tokens that what is known of all sequences counts for each
MEMORY = 0.9  # of a sequence's earlier rounds, a round later
COMMON_MEMORY = 0.99
FIRST_GUESS = 0.8
OPTIMISM = 0.05  # of a sequence that has not drafted: to find out costs a round, never to know costs all
FORGETTING = 0.85  # in a round that does not draft: what a sequence is known for does not bind it for ever
COMMON_FORGETTING = 0.999  # nor what all are known for
LEAST, MOST = 0.05, 0.97


@dataclass
class Acceptance:
    """One sequence's."""

    accepted: float = 0.0
    tried: float = 0.0

    def chance(self, common: float) -> float:
        """`common`: of all sequences."""
        return _bounded((STRENGTH * (common + OPTIMISM) + self.accepted) / (STRENGTH + self.tried))

    def observe(self, accepted: int, deepest: int) -> None:
        """A round in which `accepted` draft tokens were; `deepest`: as many as could have been."""
        self.accepted = MEMORY * self.accepted + accepted
        self.tried = MEMORY * self.tried + accepted + (accepted < deepest)

    def forget(self) -> None:
        """A round without a draft."""
        self.accepted *= FORGETTING
        self.tried *= FORGETTING


class CommonAcceptance:
    """Of all sequences together: what a new one is expected to be like."""

    def __init__(self) -> None:
        self._accepted, self._tried = FIRST_GUESS, 1.0

    @property
    def chance(self) -> float:
        return _bounded(self._accepted / self._tried)

    def observe(self, accepted: int, deepest: int) -> None:
        self._accepted = COMMON_MEMORY * self._accepted + accepted
        self._tried = COMMON_MEMORY * self._tried + accepted + (accepted < deepest)

    def forget(self) -> None:
        """A round without a draft: back towards the first guess, by a little."""
        self._accepted += (1 - COMMON_FORGETTING) * (FIRST_GUESS * self._tried - self._accepted)


def _bounded(chance: float) -> float:
    return min(max(chance, LEAST), MOST)
