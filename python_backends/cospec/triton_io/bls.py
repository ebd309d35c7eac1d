"""Verifier and drafters of the same server, called through BLS."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

import triton_python_backend_utils as pb_utils

from cospec.signatures import DRAFTER, VERIFIER, ModelSignature
from cospec.speculation.sequence import CalleeError
from cospec.speculation.types import DraftResult, DraftRow, VerifyResult, VerifyRow
from cospec.triton_io import rows as codec
from cospec.triton_io.rows import Arrays
from cospec.triton_io.tensors import as_tensors, read_outputs

Answer = TypeVar("Answer")


class BlsModel:
    """One call at a time per thread of `executor`: `async_exec` would share Python's small default pool.

    A call is under way when `call` returns, before the event loop runs anything else: what it does next, such as
    sending text, then costs no time.
    """

    def __init__(self, model_name: str, signature: ModelSignature, executor: Executor) -> None:
        self._model_name = model_name
        self._output_names = [spec.name for spec in signature.outputs]
        self._executor = executor

    def call(self, inputs: Arrays, decode: Callable[[Arrays], Answer]) -> Awaitable[Answer]:
        """Raises `CalleeError`, when awaited, if the model fails or is not ready."""
        return asyncio.get_running_loop().run_in_executor(self._executor, self._call, inputs, decode)

    def _call(self, inputs: Arrays, decode: Callable[[Arrays], Answer]) -> Answer:
        request = pb_utils.InferenceRequest(
            model_name=self._model_name, requested_output_names=self._output_names, inputs=as_tensors(inputs)
        )
        try:
            response = request.exec()
        except pb_utils.TritonModelException as error:
            raise CalleeError(f"{self._model_name} cannot be called: {error}") from error
        if response.has_error():
            raise CalleeError(f"{self._model_name} failed: {response.error().message()}")
        return decode(read_outputs(response))


class BlsVerifier:
    def __init__(self, model_name: str, executor: Executor) -> None:
        self._model = BlsModel(model_name, VERIFIER, executor)

    def verify(self, rows: Sequence[VerifyRow]) -> Awaitable[list[VerifyResult]]:
        return self._model.call(codec.encode_verify(rows), codec.decode_verify_results)

    async def release(self, session_ids: Sequence[int]) -> None:
        await self._model.call(codec.encode_release(session_ids, with_nodes=True), codec.decode_verify_results)


class BlsDrafter:
    num_replicas_up = 1  # the server's own

    def __init__(self, model_name: str, executor: Executor) -> None:
        self._model = BlsModel(model_name, DRAFTER, executor)

    def draft(self, rows: Sequence[DraftRow]) -> Awaitable[list[DraftResult]]:
        return self._model.call(codec.encode_draft(rows), codec.decode_draft_results)

    async def release(self, session_ids: Sequence[int]) -> None:
        await self._model.call(codec.encode_release(session_ids, with_nodes=False), codec.decode_draft_results)
