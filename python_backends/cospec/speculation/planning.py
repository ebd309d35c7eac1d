"""How each sequence of a group is drafted for in a round: by whom, how deep, how wide, and by which kind of fusion."""

from collections.abc import Sequence as Rows
from dataclasses import dataclass, replace

from cospec.config import SpeculationSettings
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


NO_DRAFT = Plan()


def make_policy(settings: SpeculationSettings) -> RoutingPolicy:
    if settings.routing == "ucb":
        return Ucb(settings.exploration)
    return Switching(settings.explore_below, settings.num_explorers)


class Planner:
    """Plans from settings and from what each request asks for."""

    def __init__(self, settings: SpeculationSettings, policy: RoutingPolicy, max_verify_tokens: int) -> None:
        """`max_verify_tokens`: draft tokens that a round may bring the verifier."""
        self._max_verify_tokens = max_verify_tokens
        self._settings = settings
        self._policy = policy

    def drafts_for(self, sequence: Sequence, num_requests: int) -> bool:
        """Whether the next round drafts at all; `num_requests`: live ones, of which `auto` takes account."""
        mode = self._resolve(sequence.request.speculation, num_requests)
        return mode.method is not Method.OFF and _depth(sequence, mode) >= 1 and sequence.verifier_length > 0

    def plan(self, sequence: Sequence, available: Rows[str], num_requests: int) -> Plan:
        """`available`: drafters that can be asked now."""
        if not self.drafts_for(sequence, num_requests):
            return NO_DRAFT
        mode = self._resolve(sequence.request.speculation, num_requests)
        route = self._route(sequence, mode, available)
        drafters = (*route.leaders, *route.explorers, *((LOOKUP,) if mode.lookup else ()))
        depth = min(_depth(sequence, mode), self._deepest(mode, num_requests))
        plan = replace(self._shape(mode), drafters=drafters, explorers=route.explorers, depth=depth)
        return plan if drafters else NO_DRAFT

    def _deepest(self, mode: SpeculationMode, num_requests: int) -> int:
        """Under load the longest drafts shrink first: to a request's share of what is verified."""
        fixed = mode.method is Method.FIXED
        return self._settings.max_draft_tokens if fixed else max(1, self._max_verify_tokens // num_requests)

    def _resolve(self, mode: SpeculationMode, num_requests: int) -> SpeculationMode:
        """`auto` by the settings. Drafting buys time with work, and under load there is no work to spare."""
        if mode.method is not Method.AUTO:
            return mode
        settings = self._settings
        if num_requests > settings.draft_up_to_requests or not settings.num_draft_tokens:
            return SpeculationMode(Method.OFF)
        return SpeculationMode(Method(settings.method), None, settings.num_draft_tokens, settings.lookup)

    def _route(self, sequence: Sequence, mode: SpeculationMode, available: Rows[str]) -> Route:
        if mode.drafter is not None:
            return Route(tuple(name for name in available if name == mode.drafter))
        models = [name for name in available if name != LOOKUP]
        most = 1 if mode.method is Method.ROUTED else self._settings.max_drafters
        return self._policy.choose(sequence.routing, models, most) if models else Route(())

    def _shape(self, mode: SpeculationMode) -> Plan:
        settings, depth = self._settings, mode.num_draft_tokens or 0
        if mode.method in (Method.FIXED, Method.ROUTED):
            return Plan(method=Method.TREE, num_nodes=depth)
        if mode.method is Method.VOTE:
            return Plan(method=Method.VOTE, num_nodes=depth)
        plan = Plan(method=mode.method, branching=settings.branching, num_nodes=settings.num_nodes)
        tree = mode.method is Method.TREE
        return replace(plan, width=settings.width, stop_below=settings.stop_below) if tree else plan


def _depth(sequence: Sequence, mode: SpeculationMode) -> int:
    return min(mode.num_draft_tokens or 0, sequence.num_remaining_tokens - 1)  # the bonus token is one of them
