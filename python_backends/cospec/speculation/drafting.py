"""The drafting stage of a round: ask the planned drafters, fuse their answers, choose what the verifier checks."""

import asyncio
from collections.abc import Callable
from collections.abc import Sequence as Rows
from dataclasses import dataclass, field

import numpy as np

from cospec.speculation.calibration import Calibration, Hit
from cospec.speculation.cost_model import DraftWork
from cospec.speculation.drafter_pool import DrafterPool
from cospec.speculation.fusion import fuse, majority_path, most_confident_child, outcomes
from cospec.speculation.lookup import LOOKUP
from cospec.speculation.planning import Plan
from cospec.speculation.request import Method
from cospec.speculation.routing import trust
from cospec.speculation.selection import Claim, Rates, select
from cospec.speculation.sequence import Draft, Sequence
from cospec.speculation.types import NO_PARENT, DraftResult, DraftRow, DraftTree, Status

Worth = Callable[[DraftWork | None], Rates]  # what drafting cost -> how the verifier's work pays, for `select`

UNDER_WAY = 1e-3  # seconds after which the next call is: then is the time to learn what changes slowly
EXPLORED_DEPTH = 2  # of drafters that are only tried: enough to see whether they agree with the verifier


class Drafting:
    def __init__(self, pool: DrafterPool, calibration: Calibration, max_nodes: int) -> None:
        """`max_nodes`: to verify in one round, over all of its sequences."""
        self._pool = pool
        self._calibration = calibration
        self._max_nodes = max_nodes
        self._heard: dict[tuple[str, bool], list[Hit]] = {}  # since the calibration was last told

    async def draft(self, sequences: Rows[Sequence], plans: Rows[Plan], worth: Worth) -> "Drafted":
        """One draft per sequence, empty where nothing was planned or nobody answered; `worth` chooses their nodes."""
        members = [_Member(sequence, plan, self._calibration) for sequence, plan in zip(sequences, plans, strict=True)]
        drafting = [member for member in members if member.plan.drafters]
        lockstep = [member for member in drafting if member.plan.method is Method.LOCKSTEP]
        at_once = [member for member in drafting if member.plan.method is not Method.LOCKSTEP]
        if at_once:
            await self._draft_at_once(at_once)
        if lockstep:
            await self._draft_in_lockstep(lockstep)
        work = _work_of(at_once) if not lockstep else None
        self._choose_nodes(drafting, worth, work)
        return Drafted([member.draft for member in members], work)

    def learn(self, sequence: Sequence, draft: Draft, verified: Rows[int]) -> None:
        """From what the verifier chose: how good the drafters are on this text, and what their margins mean."""
        found = list(outcomes(draft.fused, verified))
        sequence.routing.observe([outcome.votes() for outcome in found], len(verified))
        # A stranger's margins would spoil what they mean in its own domain, and a caller's choice may be a stranger.
        own = draft.drafters[:1] if sequence.request.speculation.drafter is None else ()
        experts = [name for name in draft.drafters if name in (*own, LOOKUP)]
        if experts and not self._heard:
            asyncio.get_running_loop().call_later(UNDER_WAY, self._calibrate)
        for name in experts:
            heard = self._heard.setdefault((name, sequence.greedy), [])
            heard += [hit for outcome in found for hit in outcome.hits(name)]

    def _calibrate(self) -> None:
        """All of a round at once: a step for each sequence would cost as much as drafting does."""
        told, self._heard = self._heard, {}
        for (drafter, greedy), said in told.items():
            self._calibration.of(drafter, greedy).observe(said)

    async def _draft_at_once(self, members: "Rows[_Member]") -> None:
        """One-shot fusion: every drafter makes a tree of its own, and the trees are merged."""
        await self._ask(members, [member.plan.depth for member in members])
        for member in members:
            member.draft.fused = fuse(member.proposals, member.chances)

    async def _draft_in_lockstep(self, members: "Rows[_Member]") -> None:
        """CoSine's token fusion: at each depth all go on from the most confident drafter's token."""
        for depth in range(max(member.plan.depth for member in members)):
            members = [member for member in members if depth < member.plan.depth and len(member.spine) == depth]
            if not members:
                return
            await self._ask(members, [1] * len(members))
            for member in members:
                member.extend_spine()

    async def _ask(self, members: "Rows[_Member]", depths: Rows[int]) -> None:
        rows: dict[str, list[DraftRow]] = {}
        asked: dict[str, list[_Member]] = {}
        for member, depth in zip(members, depths, strict=True):
            member.proposals = {}
            for name in member.plan.drafters:
                rows.setdefault(name, []).append(member.row(name, depth))
                asked.setdefault(name, []).append(member)
        answers = await self._pool.ask(rows)
        for name, askers in asked.items():
            for member, result in zip(askers, answers.get(name, [None] * len(askers)), strict=True):
                member.take(name, result)

    def _choose_nodes(self, members: "Rows[_Member]", worth: Worth, work: DraftWork | None) -> None:
        drafted = [member for member in members if len(member.draft.fused)]
        voting = [member for member in drafted if member.plan.method is Method.VOTE]
        ranking = [member for member in drafted if member.plan.method is not Method.VOTE]
        for member in voting:
            member.choose(majority_path(member.draft.fused, member.weights())[: member.plan.num_nodes])
        claims = [member.claim() for member in ranking]
        rates = worth(work) if any(not claim.whole for claim in claims) else None
        for member, nodes in zip(ranking, select(claims, self._max_nodes, rates), strict=True):
            member.choose(nodes)


@dataclass(frozen=True)
class Drafted:
    drafts: list[Draft]
    work: DraftWork | None  # None: nobody was asked, or again and again


@dataclass
class _Member:
    """One sequence in this stage."""

    sequence: Sequence
    plan: Plan
    calibration: Calibration
    draft: Draft = field(default_factory=Draft)
    proposals: dict[str, DraftTree] = field(default_factory=dict)  # the drafters' latest answers
    num_read: dict[str, int] = field(default_factory=dict)  # drafter -> tokens that it read for the latest answer
    spine: list[int] = field(default_factory=list)  # tokens that all drafters go on from, in lock-step
    end: int = NO_PARENT  # the node of the last of them

    def row(self, drafter: str, depth: int) -> DraftRow:
        sequence, plan = self.sequence, self.plan
        if drafter in plan.explorers:
            depth = min(depth, EXPLORED_DEPTH)
        held = sequence.drafter_lengths.get(drafter, 0)
        if drafter in self.draft.read:
            held = len(sequence.tokens) + len(self.draft.read[drafter])
        context = np.asarray((sequence.tokens + self.spine)[held:], dtype=np.int32)
        self.num_read[drafter] = len(context)
        stop = self.calibration.of(drafter, sequence.greedy).stop_rule(plan.stop_below)
        return DraftRow(sequence.session_id, held, context, depth, sequence.sampling, plan.width, plan.branching, stop)

    def take(self, drafter: str, result: DraftResult | None) -> None:
        """None: the drafter failed, or has not answered in time; it may hold the session, for all we know."""
        self.sequence.drafter_lengths.setdefault(drafter, 0)
        if result is None:
            self.sequence.statistics.missing[drafter] += 1
            return
        if result.status is not Status.OK:
            self.draft.read.pop(drafter, None)
            self.sequence.drafter_lengths[drafter] = 0
            return
        # A beam's entries stand in no order that a later call could build on, and lookup holds no drafts.
        chain = result.tree.first_of_each_depth()[:-1] if self.plan.width == 1 and drafter != LOOKUP else ()
        self.draft.read[drafter] = (*self.spine, *chain)
        if len(result.tree):
            self.draft.deepest = max(self.draft.deepest, self.plan.depth)
            self.proposals[drafter] = result.tree
            known = {*self.draft.drafters, drafter}
            self.draft.drafters = tuple(name for name in self.plan.drafters if name in known)

    def chances(self, drafter: str, margins: Rows[float]) -> list[float]:
        """A drafter's confidence, calibrated, counts as far as it is trusted on this text."""
        trusted, calibrator = self._trust(drafter), self.calibration.of(drafter, self.sequence.greedy)
        return [trusted * chance for chance in calibrator.chances(margins)]

    def weights(self) -> dict[str, float]:
        """For a vote."""
        return {drafter: self.sequence.routing.agreement(drafter) for drafter in self.draft.drafters}

    def extend_spine(self) -> None:
        fused = self.draft.fused
        for drafter, tree in self.proposals.items():
            chances = self.chances(drafter, tree.margins)
            for token, margin, chance in zip(tree.tokens, tree.margins, chances, strict=True):
                fused.add(self.end, token, drafter, margin, chance)
        best = most_confident_child(fused, self.end)
        if best is not None:
            self.end = best
            self.spine.append(fused.nodes[best].token)

    def claim(self) -> Claim:
        return Claim(self.draft.fused, self.plan.num_nodes, not self.plan.priced, self.plan.needed)

    def choose(self, nodes: Rows[int]) -> None:
        self.draft.nodes = nodes
        self.draft.tree = self.draft.fused.keep(nodes)

    def _trust(self, drafter: str) -> float:
        return 1.0 if drafter == LOOKUP else trust(self.sequence.routing, drafter, self.plan.drafters)


def _work_of(members: "Rows[_Member]") -> DraftWork | None:
    """Lookup costs next to nothing."""
    asked = [
        (name, member.num_read[name], member.proposals[name].depth() if name in member.proposals else 0)
        for member in members
        for name in member.num_read
        if name != LOOKUP
    ]
    if not asked:
        return None
    drafters = {name for name, _, _ in asked}
    tokens = sum(read + max(0, depth - 1) for _, read, depth in asked)
    return DraftWork(len(drafters), len(asked), max(depth for _, _, depth in asked), tokens)
