"""The answering side of a verifier or drafter: the rows of all batched calls in one engine call."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import triton_python_backend_utils as pb_utils

from cospec.speculation.request import InvalidRequest
from cospec.speculation.types import DraftResult, DraftRow, Status, VerifyResult, VerifyRow
from cospec.triton_io import rows as codec
from cospec.triton_io.errors import error_response
from cospec.triton_io.rows import Arrays, Release
from cospec.triton_io.tensors import answer, read_inputs

Row = TypeVar("Row")
Result = TypeVar("Result")


class VerifierEngine(Protocol):
    def verify(self, rows: Sequence[VerifyRow]) -> list[VerifyResult]: ...

    def release(self, session_ids: Sequence[int]) -> None: ...


class DrafterEngine(Protocol):
    def draft(self, rows: Sequence[DraftRow]) -> list[DraftResult]: ...

    def release(self, session_ids: Sequence[int]) -> None: ...


class Callee(Generic[Row, Result]):
    """Decodes, calls and encodes; a call that fails is answered with an error, never with an exception."""

    def __init__(
        self,
        decode: Callable[[Arrays], list[Row | Release]],
        advance: Callable[[Sequence[Row]], list[Result]],
        release: Callable[[Sequence[int]], None],
        encode: Callable[[Sequence[Result]], Arrays],
        released: Result,
        vocabulary_size: int,
    ) -> None:
        self._decode = decode
        self._advance = advance
        self._release = release
        self._encode = encode
        self._released = released
        self._vocabulary_size = vocabulary_size

    def execute(self, requests: Sequence["pb_utils.InferenceRequest"]) -> list["pb_utils.InferenceResponse"]:
        """One response per request, in order."""
        calls = [self._read(request) for request in requests]
        rows = [row for call in calls if isinstance(call, list) for row in call]
        try:
            results = iter(self._answer(rows))
        except Exception as error:  # the engine's fault must not take the model down
            return [error_response(error) for _ in requests]
        return [self._respond(call, results) for call in calls]

    def _read(self, request: "pb_utils.InferenceRequest") -> "list[Row | Release] | InvalidRequest":
        try:
            arrays = read_inputs(request)
            codec.check_tokens(arrays, self._vocabulary_size)
            return self._decode(arrays)
        except KeyError as missing:
            return InvalidRequest(f"tensor {missing} is missing")
        except (ValueError, IndexError) as error:
            return InvalidRequest(str(error))

    def _answer(self, rows: Sequence[Row | Release]) -> list[Result]:
        self._release([row.session_id for row in rows if isinstance(row, Release)])
        advanced = iter(self._advance([row for row in rows if not isinstance(row, Release)]))
        return [self._released if isinstance(row, Release) else next(advanced) for row in rows]

    def _respond(self, call: "list[Row | Release] | InvalidRequest", results: Any) -> "pb_utils.InferenceResponse":
        if isinstance(call, InvalidRequest):
            return error_response(call)
        return answer(self._encode([next(results) for _ in call]))


def verifier_callee(engine: VerifierEngine, vocabulary_size: int) -> Callee[VerifyRow, VerifyResult]:
    return Callee(
        codec.decode_verify,
        engine.verify,
        engine.release,
        codec.encode_verify_results,
        VerifyResult(Status.OK, 0),
        vocabulary_size,
    )


def drafter_callee(engine: DrafterEngine, vocabulary_size: int) -> Callee[DraftRow, DraftResult]:
    return Callee(
        codec.decode_draft,
        engine.draft,
        engine.release,
        codec.encode_draft_results,
        DraftResult(Status.OK),
        vocabulary_size,
    )
