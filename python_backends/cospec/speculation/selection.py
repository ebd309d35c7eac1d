"""What the verifier checks, over all requests of a round: first what each needs for its SLO (AdaServe), then the nodes
that it is most likely to reach (TETRIS), for as long as another one is worth its time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import nlargest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cospec.speculation.fusion import FusedTree

Ranked = tuple[float, int]  # reach, -node: among equals the parent comes first
Rates = Callable[[int, NDArray[Any]], NDArray[np.float64]]


@dataclass(frozen=True)
class Claim:
    """A tree whose nodes may be verified."""

    tree: FusedTree
    most: int  # nodes, at most
    whole: bool = True  # all that it may, whatever they cost
    needed: float = 0.0  # tokens that the request's SLO asks of the round, the bonus token included


def select(claims: Sequence[Claim], total: int, rates: Rates | None = None) -> list[list[int]]:
    """For each tree the nodes to verify, ascending; at most `total` of all.

    No node is easier to reach than its parent, so that the best nodes of a tree are always a tree. `rates`: nodes
    that are verified anyhow, expected tokens of the first 0, 1, 2 .. of the others -> the round's tokens per second.
    """
    ranked = [_best(claim.tree, claim.most) for claim in claims]
    kept = [_certain(claim, few) for claim, few in zip(claims, ranked, strict=True)]
    others = [(*each, number) for number, few in enumerate(ranked) for each in few[len(kept[number]) :]]
    sure = sum(map(len, kept))
    if sure > total:
        kept, others = _best_of_all(kept, total), []
    for reach, negative, number in _worthwhile(nlargest(max(0, total - sure), others), kept, rates):
        kept[number].append((reach, negative))
    return [sorted(-negative for _, negative in few) for few in kept]


def _certain(claim: Claim, ranked: list[Ranked]) -> list[Ranked]:
    """Those that are verified whatever they cost."""
    if claim.whole:
        return list(ranked)
    hoped, count = 1.0, 0
    while hoped < claim.needed:
        if count == len(ranked):
            return []  # what cannot be kept is not paid for
        hoped += ranked[count][0]
        count += 1
    return ranked[:count]


def _worthwhile(
    others: list[tuple[float, int, int]], kept: Sequence[list[Ranked]], rates: Rates | None
) -> list[tuple[float, int, int]]:
    if not others or rates is None:
        return others
    certain = sum(reach for few in kept for reach, _ in few)
    hoped = certain + np.cumsum([0.0, *(reach for reach, _, _ in others)])
    return others[: int(rates(sum(map(len, kept)), hoped).argmax())]


def _best(tree: FusedTree, limit: int) -> list[Ranked]:
    return sorted(((reach, -index) for index, reach in enumerate(tree.reaches())), reverse=True)[:limit]


def _best_of_all(kept: Sequence[list[Ranked]], total: int) -> list[list[Ranked]]:
    ranked = ((reach, negative, number) for number, few in enumerate(kept) for reach, negative in few)
    best: list[list[Ranked]] = [[] for _ in kept]
    for reach, negative, number in nlargest(total, ranked):
        best[number].append((reach, negative))
    return best
