"""Rows of the round loop to the arrays that cross Triton, and back. NumPy only: both ends and the tests use it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cospec.signatures import PADDING, Operation, RealColumn, ResultColumn, RowColumn
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

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Release:
    """A row that frees its session."""

    session_id: int


def encode_verify(rows: Sequence[VerifyRow]) -> Arrays:
    arrays = _encode_rows(rows)
    arrays["row"][:, RowColumn.NUM_TOKENS] = [row.num_tokens for row in rows]
    return {
        **arrays,
        "node_tokens": _pad([row.tree.tokens for row in rows]),
        "node_parents": _pad([row.tree.parents for row in rows]),
    }


def encode_draft(rows: Sequence[DraftRow]) -> Arrays:
    arrays = _encode_rows(rows)
    arrays["row"][:, RowColumn.NUM_TOKENS] = [row.num_draft_tokens for row in rows]
    arrays["row"][:, RowColumn.SCORE_CONTEXT] = [row.score_context for row in rows]
    arrays["row"][:, RowColumn.WIDTH] = [row.width for row in rows]
    arrays["row"][:, RowColumn.BRANCHING] = [row.branching for row in rows]
    arrays["reals"][:, RealColumn.STOP_BELOW :] = [(row.stop.below, row.stop.slope, row.stop.intercept) for row in rows]
    return arrays


def encode_release(session_ids: Sequence[int], with_nodes: bool) -> Arrays:
    """`with_nodes`: for the verifier, whose calls always carry node tensors."""
    count = len(session_ids)
    whole = np.zeros((count, len(RowColumn)), dtype=np.int64)
    whole[:, RowColumn.OPERATION] = Operation.RELEASE
    whole[:, RowColumn.SESSION_ID] = _signed(session_ids)
    padding = np.full((count, 1), PADDING, dtype=np.int32)
    arrays: Arrays = {"row": whole, "reals": np.zeros((count, len(RealColumn)), dtype=np.float32), "context": padding}
    return {**arrays, "node_tokens": padding, "node_parents": padding} if with_nodes else arrays


def check_tokens(arrays: Arrays, vocabulary_size: int) -> None:
    """Raises `ValueError` where something stands for a token that is none: it would fail all who share the batch."""
    for name in ("context", "node_tokens"):
        tokens = arrays.get(name)
        if tokens is not None and tokens.size and not PADDING <= tokens.min() <= tokens.max() < vocabulary_size:
            raise ValueError(f"{name} must hold token ids from 0 to {vocabulary_size - 1}")


def decode_verify(arrays: Arrays) -> list[VerifyRow | Release]:
    rows: list[VerifyRow | Release] = []
    for index, whole in enumerate(arrays["row"].tolist()):
        if whole[RowColumn.OPERATION] == Operation.RELEASE:
            rows.append(Release(_unsigned(whole[RowColumn.SESSION_ID])))
            continue
        rows.append(
            VerifyRow(
                _unsigned(whole[RowColumn.SESSION_ID]),
                _length(whole),
                _context(arrays["context"][index]),
                _tree(arrays["node_tokens"][index], arrays["node_parents"][index]),
                _sampling(whole, arrays["reals"][index].tolist()),
                whole[RowColumn.NUM_TOKENS],
            )
        )
    return rows


def decode_draft(arrays: Arrays) -> list[DraftRow | Release]:
    rows: list[DraftRow | Release] = []
    for index, whole in enumerate(arrays["row"].tolist()):
        if whole[RowColumn.OPERATION] == Operation.RELEASE:
            rows.append(Release(_unsigned(whole[RowColumn.SESSION_ID])))
            continue
        rows.append(
            DraftRow(
                _unsigned(whole[RowColumn.SESSION_ID]),
                _length(whole),
                _context(arrays["context"][index]),
                whole[RowColumn.NUM_TOKENS],
                _sampling(whole, arrays["reals"][index].tolist()),
                whole[RowColumn.WIDTH],
                whole[RowColumn.BRANCHING],
                StopRule(*arrays["reals"][index][RealColumn.STOP_BELOW :].tolist()),
                bool(whole[RowColumn.SCORE_CONTEXT]),
            )
        )
    return rows


def encode_verify_results(results: Sequence[VerifyResult]) -> Arrays:
    header = [(result.status, result.committed_length, len(result.tokens)) for result in results]
    return {
        "result": np.asarray(header, dtype=np.int32),
        "tokens": _pad([result.tokens for result in results]),
        "path": _pad([result.path for result in results]),
    }


def decode_verify_results(arrays: Arrays) -> list[VerifyResult]:
    results = []
    for index, header in enumerate(arrays["result"].tolist()):
        count = header[ResultColumn.NUM_TOKENS]
        results.append(
            VerifyResult(
                Status(header[ResultColumn.STATUS]),
                header[ResultColumn.COMMITTED_LENGTH],
                tuple(_unpad(arrays["path"][index]).tolist()),
                tuple(arrays["tokens"][index][:count].tolist()),
            )
        )
    return results


def encode_draft_results(results: Sequence[DraftResult]) -> Arrays:
    header = [(result.status, 0, len(result.tree)) for result in results]
    likelihoods = [[result.context_log_likelihood] for result in results]
    return {
        "result": np.asarray(header, dtype=np.int32),
        "tokens": _pad([result.tree.tokens for result in results]),
        "parents": _pad([result.tree.parents for result in results]),
        "margins": _pad([result.tree.margins for result in results], np.float32),
        "context_log_likelihood": np.asarray(likelihoods, dtype=np.float32),
    }


def decode_draft_results(arrays: Arrays) -> list[DraftResult]:
    results = []
    for index, header in enumerate(arrays["result"].tolist()):
        count = header[ResultColumn.NUM_TOKENS]
        nodes = (tuple(arrays[name][index][:count].tolist()) for name in ("tokens", "parents", "margins"))
        likelihood = float(arrays["context_log_likelihood"][index][0])
        results.append(DraftResult(Status(header[ResultColumn.STATUS]), DraftTree(*nodes), likelihood))
    return results


def _encode_rows(rows: Sequence[VerifyRow] | Sequence[DraftRow]) -> Arrays:
    whole = np.zeros((len(rows), len(RowColumn)), dtype=np.int64)
    sampling = [row.sampling for row in rows]
    reals = np.zeros((len(rows), len(RealColumn)), dtype=np.float32)
    reals[:, RealColumn.TEMPERATURE] = [parameters.temperature for parameters in sampling]
    reals[:, RealColumn.TOP_P] = [parameters.top_p for parameters in sampling]
    whole[:, RowColumn.SESSION_ID] = _signed([row.session_id for row in rows])
    whole[:, RowColumn.COMMITTED_LENGTH] = [row.committed_length for row in rows]
    whole[:, RowColumn.SEED] = _signed([parameters.seed for parameters in sampling])
    whole[:, RowColumn.TOP_K] = [parameters.top_k for parameters in sampling]
    whole[:, RowColumn.EOS_ALLOWED_FROM] = [parameters.eos_allowed_from for parameters in sampling]
    return {
        "row": whole,
        "reals": reals,
        "context": _pad([row.context for row in rows]),
    }


def _length(whole: list[int]) -> int:
    length = whole[RowColumn.COMMITTED_LENGTH]
    if length < 0:
        raise ValueError(f"committed_length must be at least 0, got {length}")
    return length


def _context(row: NDArray[Any]) -> NDArray[Any]:
    tokens = _unpad(row)
    if not len(tokens):  # a forward of no tokens would end the process
        raise ValueError("context must hold at least one token")
    return tokens


def _tree(tokens: NDArray[Any], parents: NDArray[Any]) -> DraftTree:
    nodes = _unpad(tokens)
    tree = DraftTree(tuple(nodes.tolist()), tuple(parents[: len(nodes)].tolist()))
    if not tree.is_ordered():
        raise ValueError("node_parents must each stand before their node")
    return tree


def _sampling(whole: list[int], reals: list[float]) -> SamplingParameters:
    return SamplingParameters(
        temperature=reals[RealColumn.TEMPERATURE],
        top_p=reals[RealColumn.TOP_P],
        top_k=whole[RowColumn.TOP_K],
        seed=_unsigned(whole[RowColumn.SEED]),
        eos_allowed_from=whole[RowColumn.EOS_ALLOWED_FROM],
    )


def _pad(rows: Sequence[Any], dtype: type[np.generic] = np.int32) -> NDArray[Any]:
    """[rows, longest row, but at least 1]: Triton's Python backend mishandles tensors of size 0."""
    padded = np.full((len(rows), max(1, *(len(row) for row in rows))), PADDING, dtype=dtype)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return padded


def _unpad(row: NDArray[Any]) -> NDArray[Any]:
    return row[row != PADDING]


def _signed(values: Sequence[int]) -> NDArray[np.int64]:
    return np.asarray(values, dtype=np.uint64).view(np.int64)


def _unsigned(value: int) -> int:
    return value & 0xFFFF_FFFF_FFFF_FFFF
