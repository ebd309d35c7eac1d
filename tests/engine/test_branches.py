"""Draft trees, against forwards of every path on its own."""

import itertools

import numpy as np
import pytest
import torch
from cospec.engine.blocks import Part, assemble
from cospec.engine.branches import TRUST
from cospec.engine.drafter import DrafterEngine
from cospec.engine.sampling import SamplingBatch, noisy_scores
from cospec.speculation.types import DraftRow, DraftTree, SamplingParameters, Status
from tiny import Directory, drafter_engine, load, random_tokens

GREEDY, SAMPLED = SamplingParameters(), SamplingParameters(1.0, seed=11)
CONTEXTS = [random_tokens(20, 1), random_tokens(9, 2)]


def path(tree: DraftTree, node: int) -> list[int]:
    tokens: list[int] = []
    while node >= 0:
        tokens.insert(0, tree.tokens[node])
        node = tree.parents[node]
    return tokens


def children(tree: DraftTree) -> dict[int, list[int]]:
    nodes = sorted(range(len(tree)), key=lambda node: tree.parents[node])
    return {parent: list(group) for parent, group in itertools.groupby(nodes, lambda node: tree.parents[node])}


def draft(
    engine: DrafterEngine, depth: int, width: int, branching: int, sampling: SamplingParameters
) -> list[DraftTree]:
    rows = [DraftRow(n, 0, tokens, depth, sampling, width, branching) for n, tokens in enumerate(CONTEXTS)]
    results = engine.draft(rows)
    assert all(result.status is Status.OK for result in results)
    return [result.tree for result in results]


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
@pytest.mark.parametrize(("depth", "width", "branching"), [(4, 1, 1), (4, 1, 3), (1, 3, 2), (4, 3, 2), (5, 2, 4)])
def test_children_are_the_best_choices_behind_their_path(
    checkpoint: Directory, depth: int, width: int, branching: int, sampling: SamplingParameters
) -> None:
    reference, engine = load(checkpoint("llama")), drafter_engine(checkpoint("llama"))
    for context, tree in zip(CONTEXTS, draft(engine, depth, width, branching, sampling), strict=True):
        assert max(tree.node_depths()) == depth
        for parent, nodes in children(tree).items():
            tokens = np.append(context, path(tree, parent)).astype(np.int32)
            logits = reference.logits(assemble(reference, [Part(0, 0, tokens)]))
            batch = SamplingBatch.from_parameters([sampling], reference.device)
            scores = noisy_scores(logits, torch.tensor([len(tokens)]), batch, ())[0]
            best = scores.topk(len(nodes))
            assert {tree.tokens[node] for node in nodes} == set(best.indices.tolist())
            for node in nodes:
                others = scores.clone()
                others[tree.tokens[node]] = -torch.inf
                assert tree.margins[node] == pytest.approx(float(scores[tree.tokens[node]] - others.max()), abs=1e-3)


def test_a_beam_reads_the_most_probable_nodes_of_each_depth(checkpoint: Directory) -> None:
    for tree in draft(drafter_engine(checkpoint("llama")), 4, 3, 2, GREEDY):
        depths, families = tree.node_depths(), children(tree)
        chances = 1 / (1 + np.exp(-TRUST * np.asarray(tree.margins)))
        probability = [float(np.prod([chances[node] for node in ancestry(tree, leaf)])) for leaf in range(len(tree))]
        for depth in range(1, 4):
            layer = sorted((node for node in range(len(tree)) if depths[node] == depth), key=lambda n: -probability[n])
            assert {node for node in layer if node in families} == set(layer[:3])


def ancestry(tree: DraftTree, node: int) -> list[int]:
    return [] if node < 0 else [*ancestry(tree, tree.parents[node]), node]


def test_after_a_beam_the_session_goes_on_from_the_context(checkpoint: Directory) -> None:
    engine = drafter_engine(checkpoint("llama"))
    draft(engine, 4, 3, 2, GREEDY)
    more = np.asarray([5, 6], dtype=np.int32)
    [again] = engine.draft([DraftRow(0, len(CONTEXTS[0]), more, 3, GREEDY)])
    fresh = drafter_engine(checkpoint("llama"))
    [expected] = fresh.draft([DraftRow(0, 0, np.append(CONTEXTS[0], more).astype(np.int32), 3, GREEDY)])
    assert again.tree.tokens == expected.tree.tokens
    assert engine.draft([DraftRow(0, len(CONTEXTS[0]) + 9, more, 3, GREEDY)])[0].status is Status.UNKNOWN_STATE


def test_rows_of_unlike_shapes_share_a_call(checkpoint: Directory) -> None:
    engine, alone = drafter_engine(checkpoint("qwen2")), drafter_engine(checkpoint("qwen2"))
    shapes = [(3, 1, 1), (2, 2, 2), (4, 1, 2), (5, 2, 2), (0, 1, 1)]
    rows = [DraftRow(n, 0, random_tokens(8 + n, n), *shape[:1], GREEDY, *shape[1:]) for n, shape in enumerate(shapes)]
    together = engine.draft(rows)
    for row, result in zip(rows, together, strict=True):
        [single] = alone.draft([row])
        assert (result.tree.tokens, result.tree.parents) == (single.tree.tokens, single.tree.parents)
        assert max(result.tree.node_depths(), default=0) == row.num_draft_tokens


def test_a_beam_beside_a_deeper_one_needs_no_more_room_than_alone(checkpoint: Directory) -> None:
    engine = drafter_engine(checkpoint("llama"))  # 200 entries
    deep = DraftRow(1, 0, random_tokens(20, 1), 12, GREEDY, width=2)
    at_the_end = DraftRow(2, 0, random_tokens(196, 2), 2, GREEDY, width=2)
    results = engine.draft([deep, at_the_end])
    assert [result.status for result in results] == [Status.OK, Status.OK]
    assert [result.tree.depth() for result in results] == [12, 2]


def test_a_tree_that_does_not_fit_is_refused(checkpoint: Directory) -> None:
    engine = drafter_engine(checkpoint("llama"))  # 200 entries
    assert engine.draft([DraftRow(1, 0, random_tokens(190), 6, GREEDY)])[0].status is Status.OK
    assert engine.draft([DraftRow(1, 0, random_tokens(190), 6, GREEDY, width=3)])[0].status is Status.TOO_LONG
