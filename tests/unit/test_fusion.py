"""Fusing drafters' proposals, choosing what to verify, and what verified tokens say of those who proposed."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from cospec.speculation.fusion import FusedTree, fuse, majority_path, most_confident_child, outcomes
from cospec.speculation.selection import Claim, select
from cospec.speculation.types import NO_PARENT, DraftTree

AB = DraftTree((1, 2, 3), (-1, 0, 1), (2.0, 1.0, 0.5))
AC = DraftTree((1, 7), (-1, 0), (3.0, -1.0))
OTHER = DraftTree((9, 8), (-1, 0), (0.1, 0.2))


def chances(drafter: str, margins: Sequence[float]) -> list[float]:
    return [1 / (1 + math.exp(-margin)) for margin in margins]


def tree_of(fused: FusedTree) -> list[tuple[int, int]]:
    return [(node.token, node.parent) for node in fused.nodes]


def test_shared_prefixes_stand_once_and_every_drafter_is_heard() -> None:
    fused = fuse({"a": AB, "b": AC}, chances)
    assert tree_of(fused) == [(1, -1), (2, 0), (3, 1), (7, 0)]
    assert [set(node.voices) for node in fused.nodes] == [{"a", "b"}, {"a"}, {"a"}, {"b"}]


def test_the_more_confident_drafter_of_a_shared_node_counts() -> None:
    for order in ({"a": AB, "b": AC}, {"b": AC, "a": AB}):
        assert fuse(order, chances).nodes[0].chance == pytest.approx(chances("", [3.0])[0])


def test_reach_is_the_product_of_the_chances_of_a_path() -> None:
    fused = fuse({"a": AB}, chances)
    expected = np.cumprod(chances("", AB.margins))
    assert fused.reaches() == pytest.approx(expected.tolist())


def test_kept_nodes_form_the_tree_to_verify() -> None:
    fused = fuse({"a": AB, "b": AC, "c": OTHER}, chances)
    kept = fused.keep([0, 3, 4])
    assert (kept.tokens, kept.parents) == ((1, 7, 9), (-1, 0, -1))


def test_lockstep_goes_on_from_the_most_confident_token() -> None:
    fused = fuse({"a": AB, "b": AC, "c": OTHER}, chances)
    first = most_confident_child(fused, NO_PARENT)
    assert first is not None and fused.nodes[first].token == 1
    assert most_confident_child(fused, len(fused) - 1) is None


def test_a_vote_follows_the_weight_of_the_drafters() -> None:
    fused = fuse({"a": AB, "b": AC, "c": OTHER}, chances)
    assert [fused.nodes[i].token for i in majority_path(fused, {"a": 0.3, "b": 0.2, "c": 0.4})] == [1, 2, 3]
    assert [fused.nodes[i].token for i in majority_path(fused, {"a": 0.1, "b": 0.1, "c": 0.4})] == [9, 8]


def test_verified_tokens_judge_every_proposal_on_their_path_and_none_off_it() -> None:
    fused = fuse({"a": AB, "b": AC, "c": OTHER}, chances)
    votes = [outcome.votes() for outcome in outcomes(fused, [1, 7, 5])]
    assert votes == [{"a": True, "b": True, "c": False}, {"a": False, "b": True}]
    assert list(outcomes(fused, [4])) == list(outcomes(fused, [4, 1]))  # nothing is known behind a token nobody had


def random_tree(seed: int, size: int) -> FusedTree:
    random = np.random.default_rng(seed)
    parents = [int(random.integers(-1, index)) for index in range(size)]
    margins = random.normal(0, 2, size).tolist()
    return fuse({"a": DraftTree(tuple(range(size)), tuple(parents), tuple(margins))}, chances)


def test_selection_takes_the_most_reachable_nodes_and_their_ancestors() -> None:
    trees = [random_tree(seed, 30) for seed in range(5)]
    chosen = select([Claim(tree, most) for tree, most in zip(trees, [12, 0, 30, 5, 12], strict=True)], 40)
    assert sum(map(len, chosen)) == 40 and chosen[1] == []
    worst = min(tree.reaches()[i] for tree, few in zip(trees, chosen, strict=True) for i in few)
    for tree, few, limit in zip(trees, chosen, [12, 0, 30, 5, 12], strict=True):
        assert few == sorted(few) and len(few) <= limit
        assert all(tree.nodes[i].parent in (NO_PARENT, *few) for i in few)
        if len(few) < limit:
            assert all(tree.reaches()[i] <= worst for i in range(len(tree)) if i not in few)


def test_equally_reachable_nodes_never_leave_their_parent_behind() -> None:
    certain = DraftTree(tuple(range(8)), tuple(range(-1, 7)), (np.inf,) * 8)
    fused = fuse({"a": certain}, lambda drafter, margins: np.ones(len(margins)))
    one, other = select([Claim(fused, 8)] * 2, 9)
    assert (one, other) == ([*range(len(one))], [*range(9 - len(one))])
