"""A scripted drafter behind a real gRPC server that speaks Triton's protocol, and misbehaves when told to."""

import asyncio
from typing import Any

import grpc
import numpy as np
from cospec.signatures import DRAFTER
from cospec.speculation.types import DraftResult
from cospec.triton_io import rows as codec
from cospec.triton_io.rows import Release
from scripted import ScriptedDrafter
from tritonclient.grpc import service_pb2, service_pb2_grpc

DTYPES = {"INT64": np.int64, "INT32": np.int32, "FP32": np.float32}


class DrafterServer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    def __init__(self, drafter: ScriptedDrafter) -> None:
        self.drafter = drafter
        self.delay = 0.0  # seconds of every answer
        self.broken: dict[str, Any] = {}  # output tensor -> what it holds instead
        self.rows: list[int] = []  # of every call
        self.released: list[int] = []
        self.port = 0
        self._server: grpc.aio.Server | None = None

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """On the port it had before, if it had one."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        assert self._server is not None
        await self._server.stop(None)

    async def ModelReady(self, request: Any, context: Any) -> Any:
        await asyncio.sleep(self.delay)
        return service_pb2.ModelReadyResponse(ready=True)

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        await asyncio.sleep(self.delay)
        inputs = {
            tensor.name: np.frombuffer(content, DTYPES[tensor.datatype]).reshape(tuple(tensor.shape))
            for tensor, content in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        rows = codec.decode_draft(inputs)
        asked = [row for row in rows if not isinstance(row, Release)]
        self.released += [row.session_id for row in rows if isinstance(row, Release)]
        self.rows.append(len(asked))
        results = await self.drafter.draft(asked)
        results += [DraftResult(codec.Status.OK)] * (len(rows) - len(asked))
        return _response({**codec.encode_draft_results(results), **self.broken})


def _response(arrays: dict[str, Any]) -> Any:
    kinds = {spec.name: spec.dtype for spec in DRAFTER.outputs}
    response = service_pb2.ModelInferResponse(model_name="drafter")
    for name, array in arrays.items():
        response.outputs.add(name=name, datatype=kinds[name], shape=array.shape)
        response.raw_output_contents.append(array.astype(DTYPES[kinds[name]]).tobytes())
    return response
