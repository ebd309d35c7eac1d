"""What the next round of a group does: who drafts and how much, how much of each prompt is read, what may be verified.

It knows the costs, the hopes and the promises, and asks a controller.
"""

import math
from collections.abc import Callable
from collections.abc import Sequence as Rows
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cospec.config import Settings
from cospec.speculation.acceptance import CommonAcceptance
from cospec.speculation.controller import Occasion
from cospec.speculation.cost_model import CostModel, DraftWork, VerifyWork
from cospec.speculation.grouping import Candidate, Limits, choose_group
from cospec.speculation.planning import (
    Budget,
    Plan,
    Planner,
    controllers_of,
    make_controllers,
    make_policy,
    round_limit,
)
from cospec.speculation.selection import Rates
from cospec.speculation.sequence import Draft, Sequence
from cospec.speculation.track_record import TrackRecord

LATELY = 10  # rounds
MOST_ON_TRIAL = 2  # sequences whose drafters may read their prompts for a try
LEAST_PIECE = 16  # tokens of a prompt that are read at once
LEAST_SHARE = 0.25  # of a round's time, for prompts, whatever is promised to those who decode
OVERLOADED = 0.25  # of the promises broken: there is no time to win for them, and prompts must be read
TYPICAL_DEPTH = 4
TYPICAL_CONTEXT = 256  # tokens
PACE_MEMORY = 0.9  # of earlier rounds, a round later
ROOM, ROOM_WITH_DRAFTS = 0.9, 0.8  # of a promised pace: rounds vary, and drafts bring some much less than others


@dataclass(frozen=True)
class Facts:
    """A round that is over. Times in seconds."""

    work: VerifyWork
    drafted: DraftWork | None
    drafting: float
    verifying: float
    promised: float  # tokens per second, a prompt's row taken for one that decodes; 0: none drafted
    decoding: int  # sequences
    tokens: int  # that these got
    prompts: int  # tokens that were read beyond one a row


class Steering:
    def __init__(self, settings: Settings, num_drafters: int, clock: Callable[[], float]) -> None:
        self.costs = CostModel()
        self._common = CommonAcceptance()
        self._settings = settings
        policy, room = make_policy(settings.speculation), settings.engine.verifier.max_length
        self._planner = Planner(settings.speculation, policy, room)
        self._controllers = make_controllers(settings.speculation)
        self._num_drafters = num_drafters
        self._clock = clock
        self._drafted, self._plain = TrackRecord(), TrackRecord(unproven=16.0)
        self.lead = 0.0  # seconds from a session to the first token, lately
        self._plain_rounds = LATELY  # on end
        self._drafters_each = 1.0  # models that draft for one sequence, lately
        self._gained, self._plain_gained = 1.0, 1.0  # tokens, lately: found, and those of plain decoding in that time
        self.latest_seconds = 0.0  # of a round

    def choose_group(self, ready: Rows[Sequence], share: int) -> list[int]:
        """`share`: sequences that a group may have, for every stage to have work."""
        serving, now = self._settings.serving, self._clock()
        limits = Limits(
            requests=min(serving.max_group_size, self._settings.engine.drafter.num_slots, share),
            verify_tokens=serving.max_verify_tokens,
            seconds=serving.max_round_seconds,
            seconds_per_verify_token=serving.verify_token_weight,
        )
        waiting = [
            Candidate(
                len(sequence.tokens),
                sequence.last_draft_size,
                sequence.progress_at(now).slack(self._hoped(sequence)) if sequence.request.slo.promises else math.inf,
                sequence.passed_over,
            )
            for sequence in ready
        ]
        chosen = choose_group(waiting, self._round_seconds, limits)
        for index in set(range(len(ready))) - set(chosen):
            ready[index].passed_over += 1
        return chosen

    def has_room(self, ready: Rows[Sequence], candidate: Sequence) -> bool:
        """Whether `candidate` can join without breaking a pace that was promised and can still be kept, if one alone
        keeps it. Those to whom nothing was promised give way to one to whom something was."""
        now, alone, together = self._clock(), self._pace(1), [*ready, candidate]
        intact = [each.request.slo.tpot for each in together if each.progress_at(now).intact]
        strictest = min((tpot for tpot in intact if alone <= tpot), default=math.inf)
        room = ROOM_WITH_DRAFTS if self._plain_rounds < LATELY else ROOM
        promised = sum(each.request.slo.promises for each in together)
        return self._pace(promised if candidate.request.slo.promises else len(together)) <= room * strictest

    def budgets(self, group: Rows[Sequence], pieces: Rows[int]) -> list[Budget]:
        """`pieces`: tokens of each sequence that the verifier reads before its draft."""
        now = self._clock()
        budgets: dict[int, Budget] = {}
        for name, places in controllers_of(group, self._settings.speculation.controller).items():
            controller = self._controllers[name]
            occasion = self._occasion([group[place] for place in places], [pieces[place] for place in places], now)
            decision = controller.decide(occasion, self.costs)
            for place, decided, outlook in zip(places, decision.depths, occasion.outlooks, strict=True):
                depth = outlook.deepest if outlook.forced else decided
                budgets[place] = Budget(depth, outlook.needed(self.latest_seconds), decision, controller.chains)
        return [budgets[place] for place in range(len(group))]

    def plans(self, group: Rows[Sequence], budgets: Rows[Budget], available: Rows[str]) -> list[Plan]:
        """`available`: drafters that can be asked now."""
        plans = [
            self._planner.plan(sequence, budget, available) for sequence, budget in zip(group, budgets, strict=True)
        ]
        asked = [plan.num_models for plan in plans if plan.num_models]
        if asked:
            self._drafters_each += (1 - PACE_MEMORY) * (sum(asked) / len(asked) - self._drafters_each)
        return plans

    def pieces(self, group: Rows[Sequence]) -> list[int]:
        """Tokens of each sequence that the verifier is to read. Where others decode, a prompt comes in pieces, so that
        their next tokens are not late."""
        unread = [sequence.num_unread for sequence in group]
        if 1 not in unread or max(unread) == 1:
            return unread
        left = self._prompt_tokens(group)
        pieces = []
        for number in unread:
            piece = min(number, max(left, 1))
            left -= piece if number > 1 else 0
            pieces.append(piece)
        return pieces

    def rates(self, group: Rows[Sequence], pieces: Rows[int], drafted: DraftWork | None) -> Rates:
        """For `select`; `drafted`: what the drafting stage did."""
        work, rows = _verify_work(group, pieces), len(group)
        spent = self.costs.between_seconds(rows) + (self.costs.draft_seconds(drafted) if drafted else 0.0)

        def tokens_per_second(certain: int, hoped: NDArray[Any]) -> NDArray[np.float64]:
            tokens = work.tokens + certain + np.arange(len(hoped))
            rates: NDArray[np.float64] = (rows + hoped) / (spent + self.costs.verify_seconds_of(work, tokens))
            return rates

        return tokens_per_second

    def observe(self, sequence: Sequence, draft: Draft, accepted: int) -> None:
        """A verified round; `accepted`: draft tokens."""
        if not draft.drafters:
            sequence.acceptance.forget()
            return
        sequence.acceptance.observe(accepted, draft.deepest)
        if sequence.request.speculation.drafter is None:  # a caller's choice says nothing of what ours is worth
            self._common.observe(accepted, draft.deepest)

    def observe_first_token(self, seconds: float) -> None:
        """From a session to the first token."""
        self.lead += (1 - PACE_MEMORY) * (seconds - self.lead)

    def observe_round(self, facts: Facts) -> None:
        self._plain_rounds = 0 if facts.drafted else self._plain_rounds + 1
        if facts.drafted is None:
            self._common.forget()
        else:
            self.costs.observe_draft(facts.drafted, facts.drafting)
        self._observe_promise(facts)
        self._observe_pace(facts)
        self.costs.observe_verify(facts.work, facts.verifying)
        self.latest_seconds = facts.drafting + facts.verifying

    def _observe_pace(self, facts: Facts) -> None:
        if facts.decoding and facts.tokens:
            seconds = facts.drafting + facts.verifying + self.costs.between_seconds(facts.work.rows)
            plain = seconds * facts.decoding / self._plain_pace(facts.work.rows)
            self._gained = PACE_MEMORY * self._gained + facts.tokens
            self._plain_gained = PACE_MEMORY * self._plain_gained + plain

    def _pace(self, rows: int) -> float:
        """Seconds a token of each of so many sequences, as rounds have lately been."""
        return self._plain_gained / self._gained * self._plain_pace(rows)

    def _plain_pace(self, rows: int) -> float:
        steps = self._settings.serving.plain_tokens_per_call
        work = VerifyWork(rows, rows, TYPICAL_CONTEXT, steps)
        return (self.costs.verify_seconds(work) + self.costs.between_seconds(rows)) / steps

    def _observe_promise(self, facts: Facts) -> None:
        work, between = facts.work, self.costs.between_seconds(facts.work.rows)
        if facts.promised:
            alone = replace(work, tokens=work.tokens - facts.prompts)
            beside = self.costs.verify_seconds(work) - self.costs.verify_seconds(alone)
            spent = facts.drafting + facts.verifying - beside + between
            found = facts.tokens + work.rows - facts.decoding
            self._drafted.observe(work.rows, facts.promised * max(spent, 0.0), found)
            self._plain.forget(work.rows)
        elif facts.drafted is None:
            slowness = (facts.verifying + between) / (self.costs.verify_seconds(work) + between)
            self._plain.observe(work.rows, slowness * facts.tokens, facts.tokens)
            self._drafted.forget(work.rows)

    def predicted(self, work: VerifyWork, drafted: DraftWork | None) -> float:
        """Seconds of both stages."""
        drafting = self.costs.draft_seconds(drafted) if drafted else 0.0
        return drafting + self.costs.verify_seconds(work)

    def _occasion(self, group: Rows[Sequence], pieces: Rows[int], now: float) -> Occasion:
        outlooks = [self._planner.outlook(each, self._common.chance, now) for each in group]
        promised = [each for each in group if each.request.slo.promises]
        return Occasion(
            outlooks=outlooks,
            verify=_verify_work(group, pieces),
            num_drafters=self._num_drafters,
            drafters_each=self._drafters_each,
            plain_steps=self._settings.serving.plain_tokens_per_call,
            trust=self._drafted.factor(len(group)),
            plain_trust=self._plain.factor(len(group)),
            probes_plain=self._plain.is_stale(len(group)),
            probes_drafts=len(group) <= MOST_ON_TRIAL and self._drafted.is_stale(len(group)),
            seconds=round_limit([each.progress_at(now).slack(self._hoped(each)) for each in promised]),
        )

    def _hoped(self, sequence: Sequence) -> float:
        """Tokens of its next round, roughly."""
        if not sequence.last_draft_size:
            return float(self._settings.serving.plain_tokens_per_call)
        return 1 / (1 - sequence.acceptance.chance(self._common.chance))

    def _round_seconds(self, rows: int, tokens: int, longest: int) -> float:
        steps = 1 if tokens else self._settings.serving.plain_tokens_per_call
        verifying = self.costs.verify_seconds(VerifyWork(rows, rows + tokens, longest, steps))
        if not tokens:
            return verifying
        drafters = min(rows, self._num_drafters)
        return verifying + self.costs.draft_seconds(DraftWork(drafters, rows, TYPICAL_DEPTH, tokens))

    def _prompt_tokens(self, group: Rows[Sequence]) -> int:
        """That a round reads beside decoding: what the decoding requests' promises allow, and else a share of it."""
        decoding = [sequence for sequence in group if sequence.num_unread == 1]
        work = _verify_work(decoding, [1] * len(decoding))
        base = max(self.latest_seconds, self.costs.verify_seconds(work))
        share, now = self._settings.serving.prefill_share, self._clock()
        slacks = [each.progress_at(now).slack(self._hoped(each)) for each in decoding if each.request.slo.promises]
        limit = round_limit(slacks)
        broken = sum(slack <= base for slack in slacks) / max(1, len(decoding))
        unhurried = math.isinf(limit) or broken > OVERLOADED
        extra = share / (1 - share) * base if unhurried else max(LEAST_SHARE * base, limit - base)
        few, many = self.costs.verify_seconds_of(work, work.tokens + np.asarray([16, 272]))
        a_token = max(1e-6, float(many - few) / 256)
        return max(LEAST_PIECE, int(extra / a_token))


def _verify_work(group: Rows[Sequence], pieces: Rows[int]) -> VerifyWork:
    return VerifyWork(len(group), sum(pieces), max(len(sequence.tokens) for sequence in group))
