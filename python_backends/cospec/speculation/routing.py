"""Expertise routing: which drafters serve a request (CoSine, request-to-drafter routing).

A request's routing vector holds, for every drafter, how often the verifier chose the token that the drafter would have
chosen: expected from the text at first, then measured at every position where the drafter had a say, on the accepted
path or not. Verified agreement, and not the drafter's own confidence: the over-confident would win.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

PRIOR_WEIGHT = 4.0  # verified tokens that the expectation from the text is worth
MEMORY = 0.6  # of earlier evidence, a round with new one later: a dozen tokens in all, for subjects change
STRANGER, EXPERT = 0.3, 0.85  # agreement to expect outside and inside a drafter's domain
PARTNER = 0.6  # of the best drafter's agreement, below which another one is no help


@dataclass
class Evidence:
    """Of one drafter on one request; matches and trials fade."""

    expected: float
    matches: float = 0.0
    trials: float = 0.0
    last_round: int = -1  # in which it had a say

    @property
    def agreement(self) -> float:
        return (self.matches + PRIOR_WEIGHT * self.expected) / (self.trials + PRIOR_WEIGHT)


class RoutingVector:
    """One request's, over all drafters."""

    def __init__(self, drafters: Sequence[str]) -> None:
        self.round = 0
        self.latest_gain: int | None = None  # tokens that the latest round brought, the bonus token included
        self._evidence = {name: Evidence(1.0) for name in drafters}
        self.expect({})

    def expect(self, probabilities: Mapping[str, float]) -> None:
        """What the text suggests: how probable each drafter's domain is; those not named share the mean."""
        mean = sum(probabilities.values()) / len(probabilities) if probabilities else 1.0
        for name, evidence in self._evidence.items():
            evidence.expected = STRANGER + (EXPERT - STRANGER) * probabilities.get(name, mean)

    def observe(self, votes: Sequence[Mapping[str, bool]], gain: int) -> None:
        """A verified round: at each position, which drafters had put the verifier's token first; the tokens gained."""
        self.latest_gain = gain
        for name in {name for vote in votes for name in vote}:  # what is not asked is not forgotten
            self._evidence[name].matches *= MEMORY
            self._evidence[name].trials *= MEMORY
        for vote in votes:
            for name, agreed in vote.items():
                evidence = self._evidence[name]
                evidence.matches += agreed
                evidence.trials += 1
                evidence.last_round = self.round
        self.round += 1

    def agreement(self, drafter: str) -> float:
        return self._evidence[drafter].agreement

    def trials(self, drafter: str) -> float:
        return self._evidence[drafter].trials

    def last_round(self, drafter: str) -> int:
        return self._evidence[drafter].last_round

    def as_dict(self) -> dict[str, float]:
        return {name: round(evidence.agreement, 4) for name, evidence in self._evidence.items()}


@dataclass(frozen=True)
class Route:
    """The drafters of a round, the best first."""

    leaders: tuple[str, ...]
    explorers: tuple[str, ...] = ()  # only tried


class RoutingPolicy(Protocol):
    def choose(self, vector: RoutingVector, available: Sequence[str], most: int) -> Route:
        """Of the next round; at most `most` leaders."""


class Switching:
    """CoSine's switch: while drafts are accepted, the best drafters; else some not tried lately join them."""

    def __init__(self, explore_below: float, num_explorers: int) -> None:
        """`explore_below`: tokens that the latest round brought (bonus token included)."""
        self._explore_below = explore_below
        self._num_explorers = num_explorers

    def choose(self, vector: RoutingVector, available: Sequence[str], most: int) -> Route:
        ranked = sorted(available, key=lambda name: -vector.agreement(name))
        leaders = _partners(vector, ranked[:most])
        if vector.latest_gain is None or vector.latest_gain >= self._explore_below:
            return Route(leaders)
        others = sorted((name for name in ranked if name not in leaders), key=vector.last_round)
        return Route(leaders, tuple(others[: self._num_explorers]))


class Ucb:
    """A bandit per request (BanditSpec's UCB): agreement plus what is not known of it yet."""

    def __init__(self, exploration: float) -> None:
        self._exploration = exploration

    def choose(self, vector: RoutingVector, available: Sequence[str], most: int) -> Route:
        total = sum(map(vector.trials, available))

        def bound(name: str) -> float:
            trials = PRIOR_WEIGHT + vector.trials(name)
            return vector.agreement(name) + self._exploration * math.sqrt(math.log1p(total) / trials)

        return Route(tuple(sorted(available, key=lambda name: -bound(name))[:most]))


def _partners(vector: RoutingVector, ranked: Sequence[str]) -> tuple[str, ...]:
    """Without those that would only take the best drafter's place in the tree."""
    return tuple(name for name in ranked if vector.agreement(name) >= PARTNER * vector.agreement(ranked[0]))


def trust(vector: RoutingVector, drafter: str, among: Sequence[str]) -> float:
    """What a drafter's confidence counts beside that of the request's best one, from 0 to 1."""
    return min(1.0, vector.agreement(drafter) / vector.agreement(among[0]))
