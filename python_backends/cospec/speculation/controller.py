"""How much to draft in the next round of a group: nothing, or for whom, how deep, and down to which confidence.

A round is worth its tokens per second. To draft another token costs drafter and verifier some seconds, and at the rate
that the round earns anyway a second is worth so many tokens: the price. It pays to draft where the chance of reaching
the token exceeds the price. Rate and price follow from each other; a few iterations find the best (Dinkelbach's method
for the maximum of a ratio), where AdaSpec tries one draft length for all after another.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cospec.speculation.cost_model import CostModel, DraftWork, VerifyWork

Floats = NDArray[np.float64]

ITERATIONS = 4
GAIN = 1.05  # times the plain rate: less is not worth the risk
HURRY = 2.0  # times: how the price rises where a round would take too long
MOST_STOP = 0.9
LEEWAY = 2  # times the depth that is best on average
PROBE_DEPTH = 6
EASE = 1.4  # times as fast as promised: drafts bring a round less than was hoped as often as more
LONGER = 1.3  # times: from one length of a round that is tried to the next
FLOORS = (0, 1, 2)  # draft tokens of those that need none to be on time
SURE_ROUNDS = 3.0  # that drafting will go on for: what drafters must read first has to pay within them
TYPICAL_GAIN = 4.0  # tokens of a round that drafts
LATE_DEPTH = 3  # of those that no depth brings on time


@dataclass(frozen=True)
class Outlook:
    """What is known of a sequence before its round."""

    chance: float  # that one more draft token is accepted, all before it being
    deepest: int  # draft tokens that it could use; 0: it must not draft
    remaining: int  # output tokens that it may still bring
    unread: int = 0  # tokens that each of its drafters would have to read first
    behind: float = -math.inf  # tokens that it would need at once to be at the pace of its SLO; below 0, it is ahead
    pace: float = 0.0  # tokens per second that were promised; 0: none
    allowance: float = math.inf  # seconds that each of its tokens to come may take, for them all to be on time
    forced: bool = False  # the caller gets drafts of its own depth, whatever is decided

    def needed(self, seconds: float) -> float:
        """Tokens that its SLO asks of a round of so many seconds; infinitely few without one."""
        return self.behind + self.pace * seconds if self.pace else -math.inf


@dataclass(frozen=True)
class Occasion:
    """A group's next round, before anything is drafted."""

    outlooks: Sequence[Outlook]
    verify: VerifyWork  # what the verifier reads anyhow
    num_drafters: int  # models that could be asked
    plain_steps: int  # tokens that one call brings where nobody drafts
    drafters_each: float = 1.0  # that draft for one sequence
    seconds: float = math.inf  # that the round may take
    trust: float = 1.0  # share of what drafts promised that came true, lately
    plain_trust: float = 1.0  # ... of what rounds without drafts did
    probes_plain: bool = False  # whether it is time to see again what a round without drafts is worth
    probes_drafts: bool = False  # ... what one with drafts is

    @property
    def plain(self) -> VerifyWork:
        """A call without drafts, once the prompts are read."""
        rows = len(self.outlooks)
        return VerifyWork(rows, rows, self.verify.longest, self.plain_steps)


@dataclass(frozen=True)
class Decision:
    depths: tuple[int, ...]  # draft tokens on the longest path, of each sequence; 0: none
    stop_below: float = 0.0  # chance of reaching a draft token below which none is drafted behind it
    price: float = 0.0  # tokens that a second is worth; 0: all that is drafted is verified
    promised: float = 0.0  # tokens per second, before any trust

    @property
    def drafts(self) -> bool:
        return any(self.depths)


class Controller(Protocol):
    chains: bool  # whether drafts are chains of the best drafter, as where this policy comes from

    def decide(self, occasion: Occasion, costs: CostModel) -> Decision: ...


class Adaptive:
    chains = False

    def decide(self, occasion: Occasion, costs: CostModel) -> Decision:
        hopes = _Hopes(occasion, costs)
        if occasion.probes_plain:
            return hopes.plainly()
        if any(outlook.pace for outlook in occasion.outlooks):
            return self._on_time(hopes, occasion)
        price, best, best_rate = hopes.plain, None, 0.0
        for _ in range(ITERATIONS):
            depths = hopes.depths_at(price)
            if not depths.any():
                break
            rate, seconds = hopes.outcome(depths, hopes.longest(depths))
            if seconds > hopes.limit:
                price *= HURRY
            elif rate <= best_rate or not hopes.is_fair(depths, rate * occasion.trust):
                break
            else:
                best, best_rate, price = depths, rate, max(price, rate * occasion.trust)
        if best is None or best_rate * occasion.trust < GAIN * hopes.plain:
            return hopes.on_trial() if occasion.probes_drafts else hopes.plainly()
        return hopes.decision(hopes.limits(best), price, best_rate)

    def _on_time(self, hopes: "_Hopes", occasion: Occasion) -> Decision:
        """The same depth for all, since a pace is promised to those too whose drafts bring less; where one of them may
        be late even so, what each needs: those who are ahead shall not hold it up (AdaServe)."""
        best = hopes.best_alike()
        if best is None or best.rate * occasion.trust < GAIN * hopes.plain:
            return hopes.plainly()
        if best.ease < EASE:
            options = [best, *hopes.by_need(best.seconds)]
            best = max(options, key=lambda option: (min(option.ease, EASE), option.rate))
        return replace(hopes.decision(best.depths, best.rate * occasion.trust, best.rate), stop_below=0.0)


@dataclass(frozen=True)
class _Option:
    """What a round could draft, and what is to be expected of it."""

    depths: NDArray[np.int64]
    rate: float  # tokens per second, before any trust
    seconds: float
    ease: float  # times over that the tightest promise is kept, with what trust there is


class _Hopes:
    """Expected tokens and seconds of a round, by how deep each sequence drafts."""

    def __init__(self, occasion: Occasion, costs: CostModel) -> None:
        outlooks = occasion.outlooks
        self._occasion, self._costs = occasion, costs
        self.plain = occasion.plain_trust * plain_rate(occasion, costs)
        self._least_seconds = costs.verify_seconds(occasion.verify) + costs.between_seconds(len(outlooks))
        self.limit = occasion.seconds if self._least_seconds <= occasion.seconds else math.inf  # it is late either way
        self._deepest = np.asarray([outlook.deepest for outlook in outlooks])
        self._unread = np.asarray([outlook.unread for outlook in outlooks])
        chances: Floats = np.asarray([outlook.chance for outlook in outlooks], dtype=np.float64)
        steps = np.arange(1, max(1, self._deepest.max(initial=0)) + 1)
        reaches: Floats = np.where(steps <= self._deepest[:, None], np.power(chances[:, None], steps), 0.0)
        self._gains = _from_zero(reaches)
        allowances = np.asarray([outlook.allowance for outlook in outlooks])
        lost = (1 + self._gains[:, -1]) * allowances < self._least_seconds  # no round is short enough
        self._allowances = np.where(lost, math.inf, allowances)
        rounds_left = np.asarray([min(max(outlook.remaining / TYPICAL_GAIN, 1.0), SURE_ROUNDS) for outlook in outlooks])
        unread = occasion.drafters_each * self._unread
        self._catching_up = unread * self._read_seconds / rounds_left  # seconds of each round to come
        self._node_seconds = self._seconds_a_node(max(1, int((self._deepest > 0).sum())))

    def depths_at(self, price: float) -> NDArray[np.int64]:
        """[sequences]: the best at this price; none drafts where all together do not pay the stage itself."""
        net = self._gains - price * np.arange(self._gains.shape[1]) * self._node_seconds
        net[:, 1:] -= price * self._catching_up[:, None]
        depths = net.argmax(axis=1)
        value = net[np.arange(len(net)), depths].sum()
        return depths if value > price * self._draft_seconds(depths, steps=0) else np.zeros_like(depths)

    def uniform(self, depth: int) -> NDArray[np.int64]:
        return np.minimum(depth, self._deepest)

    def best_alike(self) -> _Option | None:
        """The best of those that draft as deep for all; None where even a little would be too late."""
        best: _Option | None = None
        for depth in range(1, int(self._deepest.max(initial=0)) + 1):
            option = self._option(self.uniform(depth))
            if option.seconds > self.limit or (best is not None and option.rate <= best.rate):
                break
            best = option
        return best

    def by_need(self, longest: float) -> Iterator[_Option]:
        """Rounds of up to `longest` seconds in which each drafts as deep as it must to be on time, and no deeper."""
        tokens, seconds = 1 + self._gains, self._least_seconds
        while seconds <= longest:
            enough = tokens * self._allowances[:, None] * self._occasion.trust >= EASE * seconds
            needed = np.minimum(np.where(enough.any(axis=1), enough.argmax(axis=1), LATE_DEPTH), self._deepest)
            for floor in FLOORS:
                option = self._option(np.maximum(needed, self.uniform(floor)))
                if option.depths.any() and option.seconds <= self.limit:
                    yield option
            seconds *= LONGER

    def _option(self, depths: NDArray[np.int64]) -> _Option:
        rate, seconds = self.outcome(depths, int(depths.max(initial=0)))
        ease = float((self._tokens(depths) * self._allowances).min()) / seconds
        return _Option(depths, rate, seconds, self._occasion.trust * ease)

    def outcome(self, depths: NDArray[np.int64], steps: int) -> tuple[float, float]:
        """(tokens per second as if all decoded, seconds of the whole round); `steps`: of the drafters."""
        occasion, costs, rows = self._occasion, self._costs, len(depths)
        tokens = float(self._tokens(depths).sum())
        drafting = self._draft_seconds(depths, steps) + float(self._catching_up[depths > 0].sum())
        around, nodes, whole = drafting + costs.between_seconds(rows), int(depths.sum()), occasion.verify
        alone = replace(occasion.plain, tokens=rows + nodes, steps=1)
        together = replace(whole, tokens=whole.tokens + nodes)
        return tokens / (around + costs.verify_seconds(alone)), around + costs.verify_seconds(together)

    def _tokens(self, depths: NDArray[np.int64]) -> Floats:
        """[sequences]: of the round, the bonus tokens included."""
        tokens: Floats = 1 + self._gains[np.arange(len(depths)), depths]
        return tokens

    def is_fair(self, depths: NDArray[np.int64], rate: float) -> bool:
        """What most of them lose is not made up for by what a few win."""
        tokens = self._tokens(depths)
        evenness = np.exp(np.log(tokens).mean()) / tokens.mean()
        return bool(rate * evenness >= self.plain)

    def on_trial(self) -> Decision:
        """All draft a little, to see what it costs and brings."""
        depths = self.uniform(PROBE_DEPTH)
        if not depths.any():
            return self.plainly()
        promised, _ = self.outcome(depths, int(depths.max()))
        return self.decision(depths, self.plain, promised)

    def plainly(self) -> Decision:
        """Nobody drafts but those whose callers want it, at the price of plain decoding."""
        return self.decision(self.uniform(0), self.plain, 0.0)

    def decision(self, depths: NDArray[np.int64], price: float, promised: float) -> Decision:
        """To draft as deep at most."""
        cost = price * self._seconds_a_node(max(1, int((depths > 0).sum())))
        return Decision(tuple(depths.tolist()), min(cost, MOST_STOP), price, promised)

    def longest(self, depths: NDArray[np.int64]) -> int:
        """Draft tokens of the longest draft, as far as can be expected: the more there are, the nearer to its limit."""
        limits, rows = self.limits(depths), max(1, int((depths > 0).sum()))
        return int((limits - (limits - depths) // rows).max())

    def limits(self, depths: NDArray[np.int64]) -> NDArray[np.int64]:
        """A draft ends where its own confidence says so: a sure one may go on for as long again."""
        return np.where(depths > 0, np.minimum(LEEWAY * depths + 1, self._deepest), 0)

    @property
    def _read_seconds(self) -> float:
        """Of one more token that a drafter reads."""
        return self._costs.draft_seconds(DraftWork(1, 1, 1, 2)) - self._costs.draft_seconds(DraftWork(1, 1, 1, 1))

    def _seconds_a_node(self, rows: int) -> float:
        """Of one draft token more of one sequence, of so many that draft, made and verified."""
        drafters, costs, verify = self._num_asked(rows), self._costs, self._occasion.verify
        asked = self._num_chains(rows)
        shorter, longer = DraftWork(drafters, asked, 1, asked), DraftWork(drafters, asked, 2, 2 * asked)
        step = (costs.draft_seconds(longer) - costs.draft_seconds(shorter)) / rows
        before, after = costs.verify_seconds_of(verify, verify.tokens + rows * np.asarray([1, 5]))
        return step + float(after - before) / (4 * rows)

    def _draft_seconds(self, depths: NDArray[np.int64], steps: int) -> float:
        rows = int((depths > 0).sum())
        tokens = round(self._occasion.drafters_each * float(depths.sum())) if steps else 0
        return self._costs.draft_seconds(DraftWork(self._num_asked(rows), self._num_chains(rows), steps, tokens))

    def _num_chains(self, rows: int) -> int:
        return round(self._occasion.drafters_each * rows)

    def _num_asked(self, rows: int) -> int:
        """Drafters that so many sequences, of any subject, ask together."""
        most, each = self._occasion.num_drafters, self._occasion.drafters_each
        return max(1, round(most * (1 - (1 - 1 / most) ** (each * rows)))) if most else 0


def plain_rate(occasion: Occasion, costs: CostModel) -> float:
    """Tokens per second where nobody drafts.

    Prompts that happen to be read beside are taken to be read already, here as where others draft: next round they are,
    but the seconds that drafts take are theirs too.
    """
    steps = occasion.plain.steps
    tokens = sum(min(steps, outlook.remaining) for outlook in occasion.outlooks)
    return tokens / (costs.verify_seconds(occasion.plain) + costs.between_seconds(len(occasion.outlooks)))


def _from_zero(reaches: Floats) -> Floats:
    """[n, depth + 1]: sums of the first 0, 1, 2 .. of each row."""
    return np.concatenate([np.zeros((len(reaches), 1)), reaches.cumsum(axis=1)], axis=1)
