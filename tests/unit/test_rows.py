"""Rows survive the way through Triton's arrays."""

from dataclasses import replace

import numpy as np
import pytest
from cospec.speculation.types import (
    DraftResult,
    DraftRow,
    DraftTree,
    SamplingParameters,
    Status,
    StopRule,
    VerifyResult,
    VerifyRow,
)
from cospec.triton_io import rows as codec

SAMPLING = SamplingParameters(temperature=0.5, top_k=7, top_p=0.25, seed=2**64 - 1, eos_allowed_from=12)
TREE = DraftTree((4, 5, 6), (-1, 0, -1), ())


def row(session_id: int, context: list[int], tree: DraftTree) -> VerifyRow:
    return VerifyRow(session_id, 3, np.asarray(context, dtype=np.int32), tree, SAMPLING)


def test_verify_rows_of_unequal_length() -> None:
    rows = [row(2**64 - 5, [1, 2], TREE), row(1, [9], DraftTree()), row(0, [1, 2, 3, 4], DraftTree.chain([8], []))]
    decoded = codec.decode_verify(codec.encode_verify(rows))
    for sent, got in zip(rows, decoded, strict=True):
        assert isinstance(got, VerifyRow)
        assert got.context.tolist() == sent.context.tolist()
        assert (got.session_id, got.committed_length, got.tree, got.sampling) == (
            sent.session_id,
            sent.committed_length,
            sent.tree,
            sent.sampling,
        )


def test_draft_rows() -> None:
    sent = DraftRow(3, 0, np.asarray([1, 2], dtype=np.int32), 4, SAMPLING, 3, 2, StopRule(0.25, 2.0, -0.5), True)
    [got] = codec.decode_draft(codec.encode_draft([sent]))
    assert isinstance(got, DraftRow)
    assert (got.num_draft_tokens, got.width, got.branching, got.score_context) == (4, 3, 2, True)
    assert got.stop == StopRule(0.25, 2.0, -0.5) and got.context.tolist() == [1, 2]


def test_releases() -> None:
    for decode, with_nodes in ((codec.decode_verify, True), (codec.decode_draft, False)):
        assert decode(codec.encode_release([5, 2**63], with_nodes)) == [codec.Release(5), codec.Release(2**63)]


def test_a_row_without_context_is_refused() -> None:
    empty = DraftRow(3, 5, np.asarray([], dtype=np.int32), 4, SAMPLING)
    with pytest.raises(ValueError, match="context must hold at least one token"):
        codec.decode_draft(codec.encode_draft([empty]))


def test_a_row_that_begins_before_its_session_is_refused() -> None:
    draft = DraftRow(1, -5, np.asarray([5], dtype=np.int32), 3, SAMPLING)
    with pytest.raises(ValueError, match="committed_length must be at least 0, got -5"):
        codec.decode_draft(codec.encode_draft([draft]))
    with pytest.raises(ValueError, match="committed_length must be at least 0, got -5"):
        codec.decode_verify(codec.encode_verify([replace(row(1, [5], TREE), committed_length=-5)]))


def test_a_node_before_its_parent_is_refused() -> None:
    with pytest.raises(ValueError, match="node_parents must each stand before their node"):
        codec.decode_verify(codec.encode_verify([row(1, [5], DraftTree((7, 8), (1, -1)))]))


def test_verify_results() -> None:
    results = [
        VerifyResult(Status.OK, 9, (0, 2), (4, 6, 1)),
        VerifyResult(Status.NO_SLOT, 0),
        VerifyResult(Status.OK, 3, (), (0,)),
    ]
    assert codec.decode_verify_results(codec.encode_verify_results(results)) == results


def test_draft_results() -> None:
    results = [
        DraftResult(Status.OK, DraftTree((1, 2, 3), (-1, -1, 0), (0.5, 0.25, 0.125)), -1.5),
        DraftResult(Status.UNKNOWN_STATE),
    ]
    assert codec.decode_draft_results(codec.encode_draft_results(results)) == results


def test_no_array_has_size_zero() -> None:
    for array in codec.encode_verify([row(1, [1], DraftTree())]).values():
        assert array.size
