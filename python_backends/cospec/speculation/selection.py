"""What the verifier checks: over all requests of a round, the nodes that it is most likely to reach (TETRIS)."""

from collections.abc import Sequence
from heapq import nlargest

from cospec.speculation.fusion import FusedTree


def select(trees: Sequence[FusedTree], per_tree: Sequence[int], total: int) -> list[list[int]]:
    """For each tree the nodes to verify, ascending; at most `per_tree` of each and `total` of all.

    No node is easier to reach than its parent, so that the best nodes of a tree are always a tree.
    """
    kept = [_best(tree, limit) for tree, limit in zip(trees, per_tree, strict=True)]
    if sum(map(len, kept)) > total:
        kept = _best_of_all(kept, total)
    return [sorted(-negative for _, negative in few) for few in kept]


def _best(tree: FusedTree, limit: int) -> list[tuple[float, int]]:
    """(reach, -node): among equals the parent comes first."""
    return nlargest(limit, ((reach, -index) for index, reach in enumerate(tree.reaches())))


def _best_of_all(kept: Sequence[list[tuple[float, int]]], total: int) -> list[list[tuple[float, int]]]:
    ranked = ((reach, negative, number) for number, few in enumerate(kept) for reach, negative in few)
    best: list[list[tuple[float, int]]] = [[] for _ in kept]
    for reach, negative, number in nlargest(total, ranked):
        best[number].append((reach, negative))
    return best
