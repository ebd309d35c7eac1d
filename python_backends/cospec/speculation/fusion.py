"""Confidence fusion: the proposals of several drafters in one token tree (CoSine's cooperative generation).

Whatever is fused here is only a guess, so nothing in this file can change a text: see the verification rule.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cospec.speculation.types import NO_PARENT, DraftTree

Chances = Callable[[str, Sequence[float]], list[float]]  # drafter, margins -> calibrated chances


@dataclass(slots=True)
class Node:
    token: int
    parent: int
    chance: float  # that the verifier chooses it, its parent being accepted
    voices: dict[str, float]  # drafter -> its margin


@dataclass
class FusedTree:
    """Nodes in topological order; siblings have distinct tokens."""

    nodes: list[Node] = field(default_factory=list)
    _by_token: dict[tuple[int, int], int] = field(default_factory=dict)  # (parent, token) -> node

    def __len__(self) -> int:
        return len(self.nodes)

    def add(self, parent: int, token: int, drafter: str, margin: float, chance: float) -> int:
        """A drafter's word for a token behind `parent`; the most confident drafter's chance counts."""
        index = self._by_token.get((parent, token))
        if index is None:
            index = self._by_token[parent, token] = len(self.nodes)
            self.nodes.append(Node(token, parent, chance, {drafter: margin}))
            return index
        node = self.nodes[index]
        node.voices[drafter] = margin
        node.chance = max(node.chance, chance)
        return index

    def reaches(self) -> list[float]:
        """How probably the verifier gets to each node: the product of the chances from the root on."""
        reaches: list[float] = []
        for node in self.nodes:
            reaches.append(node.chance * (1.0 if node.parent == NO_PARENT else reaches[node.parent]))
        return reaches

    def child(self, parent: int, token: int) -> int | None:
        return self._by_token.get((parent, token))

    def keep(self, chosen: Sequence[int]) -> DraftTree:
        """The nodes at `chosen` (ascending, with every node its parent) as the tree to verify."""
        place = {NO_PARENT: NO_PARENT} | {index: new for new, index in enumerate(chosen)}
        nodes = [self.nodes[index] for index in chosen]
        return DraftTree(tuple(node.token for node in nodes), tuple(place[node.parent] for node in nodes))


def fuse(proposals: Mapping[str, DraftTree], chances: Chances) -> FusedTree:
    """Merge drafters' trees: shared prefixes once (SpecInfer's merge, ranked by calibrated chance)."""
    fused = FusedTree()
    for drafter, tree in proposals.items():
        place = [NO_PARENT] * (len(tree) + 1)  # the last stands for NO_PARENT
        values = chances(drafter, tree.margins)
        for index, (token, parent, margin) in enumerate(zip(tree.tokens, tree.parents, tree.margins, strict=True)):
            place[index] = fused.add(place[parent], token, drafter, margin, values[index])
    return fused


def most_confident_child(fused: FusedTree, parent: int) -> int | None:
    """Lock-step fusion: the token that all drafters go on from (CoSine, confidence-based token fusion)."""
    children = [index for index, node in enumerate(fused.nodes) if node.parent == parent]
    return max(children, key=lambda index: fused.nodes[index].chance, default=None)


def majority_path(fused: FusedTree, weights: Mapping[str, float]) -> list[int]:
    """Weighted vote (Minions): from the root on, the child whose drafters weigh the most."""
    path: list[int] = []
    parent = NO_PARENT
    while True:
        children = [index for index, node in enumerate(fused.nodes) if node.parent == parent]
        if not children:
            return path
        parent = max(children, key=lambda index: sum(weights[name] for name in fused.nodes[index].voices))
        path.append(parent)


@dataclass(frozen=True)
class Outcome:
    """At one accepted position, what was proposed and what the verifier chose."""

    children: tuple[Node, ...]
    token: int

    def votes(self) -> dict[str, bool]:
        """Whether each drafter that had a say put the verifier's token first."""
        favourites: dict[str, Node] = {}
        for node in self.children:
            for drafter, margin in node.voices.items():
                if drafter not in favourites or margin > favourites[drafter].voices[drafter]:
                    favourites[drafter] = node
        return {drafter: node.token == self.token for drafter, node in favourites.items()}

    def hits(self, drafter: str) -> Iterator[tuple[float, bool]]:
        """Its margin for each token that it proposed, and whether the verifier chose that one."""
        for node in self.children:
            if drafter in node.voices:
                yield node.voices[drafter], node.token == self.token


def outcomes(fused: FusedTree, verified: Sequence[int]) -> Iterator[Outcome]:
    """Walk the verifier's tokens down the tree, as far as it reaches: nodes that were pruned before count too."""
    children: dict[int, list[int]] = {}
    for index, node in enumerate(fused.nodes):
        children.setdefault(node.parent, []).append(index)
    place: int | None = NO_PARENT
    for token in verified:
        if place is None or place not in children:
            return
        yield Outcome(tuple(fused.nodes[index] for index in children[place]), token)
        place = fused.child(place, token)
