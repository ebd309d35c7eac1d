"""What the ablation of cooperative drafting measures: contenders, cells, and how long."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from loadtests.bench_plan import Mode
from loadtests.workload import DOMAINS, MIXED

PARTS = ("ladder", "domains", "routing", "temperatures", "bls", "nodes")
ALONE, PIPELINED = "one group in flight", "two groups in flight"
SERVERS: Mapping[str, Mapping[str, Any]] = {ALONE: {}, PIPELINED: {"serving": {"groups_in_flight": 2}}}
CALL_PER_SEQUENCE, CALL_PER_GROUP = "one call a sequence", "one call a group"
BLS_SERVERS: Mapping[str, Mapping[str, Any]] = {
    CALL_PER_SEQUENCE: {"serving": {"max_group_size": 1, "groups_in_flight": 64}},
    CALL_PER_GROUP: {"serving": {"max_group_size": 64, "groups_in_flight": 1}},
}
TEMPERATURES = (0.0, 0.7, 1.0)
SEVERAL_DRAFTERS, ONE_DRAFTER = "several drafters", "one drafter"
TREE_SIZES = ((16, 1, 3), (32, 3, 3), (64, 4, 4))  # most nodes, width, branching


@dataclass(frozen=True)
class Contender(Mode):
    """A way to answer, on one of a pair's servers."""

    server: str = ALONE


OFF = Contender("off", "off")
LOOKUP, PIPELINE, AUTO = "tree + lookup", "tree + lookup + pipeline", "auto"
FUSED = ("tree", "lock-step", LOOKUP, PIPELINE, AUTO)  # names of what fuses several drafters' guesses


def fixed(drafter: str, depth: int) -> Contender:
    return Contender(f"{drafter} drafter, k={depth}", f"fixed:{drafter}:{depth}")


def routed(depth: int) -> Contender:
    return Contender("routed", f"routed:{depth}")


def tree(depth: int) -> Contender:
    return Contender("tree", f"tree:{depth}")


def lockstep(depth: int) -> Contender:
    return Contender("lock-step", f"lockstep:{depth}")


def tree_with_lookup(depth: int) -> Contender:
    return Contender(LOOKUP, f"tree:{depth}+lookup")


def unpriced_servers(num_nodes: int, width: int, branching: int) -> Mapping[str, Mapping[str, Any]]:
    """Where whatever is drafted is verified, of trees of so many nodes, by all drafters or by each request's best."""
    shape = {"controller": "fixed", "num_nodes": num_nodes, "width": width, "branching": branching}
    alone = {"max_drafters": 1, "num_explorers": 0}
    return {SEVERAL_DRAFTERS: {"speculation": shape}, ONE_DRAFTER: {"speculation": {**shape, **alone}}}


def unpriced(depth: int) -> tuple[Contender, ...]:
    """On those servers."""
    contenders = (lockstep(depth), tree_with_lookup(depth), tree(depth))
    return (
        replace(tree(depth), name="tree of one drafter", server=ONE_DRAFTER),
        *(replace(each, server=SEVERAL_DRAFTERS) for each in contenders),
    )


def ladder(depth: int, best_single: Contender) -> tuple[Contender, ...]:
    """From no speculation to all of it, each with one part more or another in its place."""
    return (
        OFF,
        replace(best_single, name="best single drafter"),
        routed(depth),
        tree(depth),
        lockstep(depth),
        Contender("vote", f"vote:{depth}"),
        tree_with_lookup(depth),
        Contender(PIPELINE, f"tree:{depth}+lookup", PIPELINED),
        Contender(AUTO, "auto"),  # all of it, where it pays
    )


@dataclass(frozen=True)
class Place:
    """Prompts of one domain, or of all in turn, from so many callers."""

    domain: str
    concurrency: int


@dataclass(frozen=True)
class PairPlan:
    """What is measured on one pair. `num_prompts`: concurrency -> prompts of a mixed cell."""

    repeats: int
    max_tokens: int
    num_prompts: Mapping[int, int]
    prompts_per_domain: int
    domain_repeats: int
    scan_prompts: int  # at concurrency 1; else as many as there are callers
    scan_tokens: int
    depth: int = 8
    draft_lengths: tuple[int, ...] = (2, 4, 8)

    def places(self, parts: tuple[str, ...], repeat: int) -> list[Place]:
        """Of one repeat."""
        mixed = [Place(MIXED, concurrency) for concurrency in self.num_prompts] if "ladder" in parts else []
        alone = [Place(domain, 1) for domain in DOMAINS]
        return mixed + (alone if "domains" in parts and repeat < self.domain_repeats else [])

    def count(self, place: Place) -> int:
        """Prompts of a cell."""
        return self.num_prompts[place.concurrency] if place.domain == MIXED else self.prompts_per_domain

    def single_drafters(self) -> list[Contender]:
        """Every one at every draft length."""
        return [fixed(drafter, length) for drafter in DOMAINS for length in self.draft_lengths]

    def draft_lengths_of(self, best: Contender) -> list[Contender]:
        """The drafter of `best` at every draft length."""
        drafter = best.speculation.split(":")[1]
        return [fixed(drafter, length) for length in self.draft_lengths]


@dataclass(frozen=True)
class CollabPlan:
    """`costly`: for pairs whose verifier is not the bundled one. `bls_prompts`: concurrency -> prompts of a cell."""

    bundle: PairPlan
    costly: PairPlan
    routing_prompts: int
    routing_tokens: int
    sampled_prompts: int
    bls_prompts: Mapping[int, int]
    bls_tokens: int

    def with_repeats(self, repeats: int | None) -> "CollabPlan":
        """So many everywhere, where that is said."""
        if repeats is None:
            return self
        pairs = [replace(plan, repeats=repeats, domain_repeats=repeats) for plan in (self.bundle, self.costly)]
        return replace(self, bundle=pairs[0], costly=pairs[1])


FULL = CollabPlan(
    bundle=PairPlan(3, 64, {1: 10, 8: 24, 32: 64}, 5, 3, scan_prompts=5, scan_tokens=64),
    costly=PairPlan(3, 48, {1: 5, 8: 16, 16: 32, 32: 32}, 1, 1, scan_prompts=5, scan_tokens=24, depth=12),
    routing_prompts=50,
    routing_tokens=24,
    sampled_prompts=20,
    bls_prompts={1: 5, 8: 16, 32: 32, 64: 64},
    bls_tokens=48,
)
QUICK = CollabPlan(
    bundle=PairPlan(1, 32, {1: 5, 8: 8, 32: 32}, 1, 1, scan_prompts=5, scan_tokens=16),
    costly=PairPlan(1, 24, {1: 5, 16: 16}, 1, 0, scan_prompts=5, scan_tokens=12, depth=12),
    routing_prompts=10,
    routing_tokens=16,
    sampled_prompts=5,
    bls_prompts={1: 5, 8: 8, 32: 32, 64: 64},
    bls_tokens=16,
)
