"""How each sequence of a group is drafted for in a round: by whom, how deep, how wide, and by which kind of fusion."""

import math
from collections.abc import Mapping
from collections.abc import Sequence as Rows
from dataclasses import dataclass, replace

from cospec.config import SpeculationSettings
from cospec.speculation.baselines import AdaSpec, Fixed, Off, Schedule, SmartSpec
from cospec.speculation.controller import Adaptive, Controller, Decision, Outlook
from cospec.speculation.lookup import LOOKUP
from cospec.speculation.request import Method, SpeculationMode
from cospec.speculation.routing import Route, RoutingPolicy, Switching, Ucb
from cospec.speculation.sequence import Sequence


@dataclass(frozen=True)
class Plan:
    drafters: tuple[str, ...] = ()  # the best first; none: no draft
    explorers: tuple[str, ...] = ()  # those of them that are only tried
    method: Method = Method.TREE
    depth: int = 0  # draft tokens on the longest path
    width: int = 1  # as in `DraftRow`
    branching: int = 1
    num_nodes: int = 0  # at most, for the verifier to check
    stop_below: float = 0.0  # as in `StopRule`
    priced: bool = False  # whether nodes that are not worth their time are left out
    needed: float = 0.0  # tokens that the request's SLO asks of the round, the bonus token included

    @property
    def num_models(self) -> int:
        """Drafters that cost something."""
        return sum(name != LOOKUP for name in self.drafters)


NO_DRAFT = Plan()


@dataclass(frozen=True)
class Budget:
    """Of one sequence's round."""

    depth: int  # draft tokens on the longest path; 0: none
    needed: float  # as in `Outlook`
    decision: Decision  # of those with the same controller
    chains: bool  # as in `Controller`


def make_policy(settings: SpeculationSettings) -> RoutingPolicy:
    if settings.routing == "ucb":
        return Ucb(settings.exploration)
    return Switching(settings.explore_below, settings.num_explorers)


def make_controllers(settings: SpeculationSettings) -> dict[str, Controller]:
    """By the names that settings and requests have for them."""
    return {
        "adaptive": Adaptive(),
        "off": Off(),
        "fixed": Fixed(settings.num_draft_tokens),
        "schedule": Schedule(settings.draft_schedule),
        "smartspec": SmartSpec(),
        "adaspec": AdaSpec(),
    }


class Planner:
    """Plans from settings, from what each request asks for, and from what a controller decided."""

    def __init__(self, settings: SpeculationSettings, policy: RoutingPolicy, max_length: int) -> None:
        """`max_length`: tokens that the verifier can hold of a sequence, draft nodes included."""
        self._settings = settings
        self._policy = policy
        self._max_length = max_length

    def outlook(self, sequence: Sequence, common_chance: float, now: float) -> Outlook:
        """`common_chance`: acceptance of all sequences; `now`: on the round loop's clock."""
        mode, progress = sequence.request.speculation, sequence.progress_at(now)
        held = max((length for name, length in sequence.drafter_lengths.items() if name != LOOKUP), default=0)
        return Outlook(
            chance=sequence.acceptance.chance(common_chance),
            deepest=self.deepest(sequence),
            remaining=sequence.num_remaining_tokens,
            unread=max(0, len(sequence.tokens) - held - 1),
            behind=progress.needed(0.0),
            pace=0.0 if not sequence.num_output_tokens else 1 / sequence.request.slo.tpot,
            forced=mode.forced,
            allowance=progress.allowance(sequence.num_remaining_tokens),
        )

    def deepest(self, sequence: Sequence) -> int:
        """Draft tokens that its next round can use: the bonus token is one of those that remain."""
        mode = sequence.request.speculation
        if mode.method is Method.OFF or sequence.num_unread != 1:
            return 0
        wanted = self._settings.num_draft_tokens if mode.num_draft_tokens is None else mode.num_draft_tokens
        return max(0, min(wanted, sequence.num_remaining_tokens - 1))

    def plan(self, sequence: Sequence, budget: Budget, available: Rows[str]) -> Plan:
        """`available`: drafters that can be asked now."""
        if not budget.depth:
            return NO_DRAFT
        asked = sequence.request.speculation
        mode = self._resolve(asked, budget.chains)
        route = self._route(sequence, mode, available)
        drafters = (*route.leaders, *route.explorers, *((LOOKUP,) if mode.lookup else ()))
        if not drafters:
            return NO_DRAFT
        shape = self._shape(mode.method, budget)
        # An explicit chain is verified as asked; what grew as a tree, or was left to the server, has to be worth it.
        grown = mode.method in (Method.TREE, Method.LOCKSTEP)
        chosen = asked.method is Method.AUTO and mode.method is not Method.VOTE
        priced = budget.decision.price > 0 and (grown or chosen)
        nodes = min(shape.num_nodes, self._max_length - len(sequence.tokens))
        return replace(
            shape,
            drafters=drafters,
            explorers=route.explorers,
            num_nodes=nodes,
            priced=priced,
            needed=budget.needed,
        )

    def _resolve(self, mode: SpeculationMode, chains: bool) -> SpeculationMode:
        """`auto` by the settings."""
        if mode.method is not Method.AUTO:
            return mode
        method = Method.ROUTED if chains else Method(self._settings.method)
        return replace(mode, method=method, lookup=self._settings.lookup and not chains)

    def _route(self, sequence: Sequence, mode: SpeculationMode, available: Rows[str]) -> Route:
        if mode.drafter is not None:
            return Route(tuple(name for name in available if name == mode.drafter))
        models = [name for name in available if name != LOOKUP]
        most = 1 if mode.method is Method.ROUTED else self._settings.max_drafters
        return self._policy.choose(sequence.routing, models, most) if models else Route(())

    def _shape(self, method: Method, budget: Budget) -> Plan:
        settings = self._settings
        if method in (Method.FIXED, Method.ROUTED):
            return Plan(method=Method.TREE, depth=budget.depth, num_nodes=budget.depth)
        if method is Method.VOTE:
            return Plan(method=Method.VOTE, depth=budget.depth, num_nodes=budget.depth)
        plan = Plan(method=method, depth=budget.depth, branching=settings.branching, num_nodes=settings.num_nodes)
        tree = method is Method.TREE
        return replace(plan, width=settings.width, stop_below=budget.decision.stop_below) if tree else plan


def controllers_of(sequences: Rows[Sequence], default: str) -> Mapping[str, list[int]]:
    """Controller -> places of the sequences that it decides for."""
    places: dict[str, list[int]] = {}
    for place, sequence in enumerate(sequences):
        places.setdefault(sequence.request.speculation.controller or default, []).append(place)
    return places


def promised_by(budgets: Rows[Budget], drafting: Rows[Sequence]) -> float:
    """Tokens per second; 0 where nobody drafts, or somebody not as was decided."""
    if any(sequence.request.speculation.forced for sequence in drafting):
        return 0.0
    return max((budget.decision.promised for budget in budgets if budget.depth), default=0.0)


def round_limit(slacks: Rows[float]) -> float:
    """Seconds that a round may take: until the first promise breaks that can still be kept."""
    return min((slack for slack in slacks if slack > 0), default=math.inf)
