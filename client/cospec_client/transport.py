"""gRPC streams to Triton. A stream carries one request at a time and is used again, so a request costs no handshake."""

import queue
import threading
from collections.abc import Generator, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException

from cospec_client.errors import RequestTimeout, from_triton
from cospec_client.request_tensors import request_tensors
from cospec_client.signatures import MODEL, OUTPUTS

Outputs = Mapping[str, "np.ndarray[Any, Any]"]
READY_TIMEOUT = 5.0  # seconds that a health check may take at most


class Transport(Protocol):
    def stream(self, inputs: Mapping[str, Any]) -> Generator[Outputs, None, None]:
        """The output tensors of each response. Closing the iterator early cancels the request."""
        ...

    def is_ready(self) -> bool: ...

    def close(self) -> None: ...


class GrpcTransport:
    """Safe to use from many threads: each request in flight has a connection of its own."""

    def __init__(self, url: str, timeout: float) -> None:
        self._url = url
        self._timeout = timeout
        self._idle: list[_Connection] = []
        self._closed = False
        self._lock = threading.Lock()

    def stream(self, inputs: Mapping[str, Any]) -> Generator[Outputs, None, None]:
        tensors = request_tensors(inputs)  # first: a bad value needs no connection
        connection = self._take()
        finished = False
        try:
            yield from connection.infer(tensors, self._timeout)
            finished = True
        finally:
            if not (finished and self._keep(connection)):
                connection.cancel()

    def is_ready(self) -> bool:
        """Whether the orchestrator and all it needs are loaded."""
        limit = min(self._timeout, READY_TIMEOUT)
        try:
            with InferenceServerClient(self._url) as client:
                return bool(
                    client.is_server_ready(client_timeout=limit) and client.is_model_ready(MODEL, client_timeout=limit)
                )
        except InferenceServerException:
            return False

    def close(self) -> None:
        with self._lock:
            self._closed = True
            connections, self._idle = self._idle, []
        for connection in connections:
            connection.cancel()

    def _take(self) -> "_Connection":
        while True:
            with self._lock:
                if not self._idle:
                    break
                connection = self._idle.pop()
            if connection.is_alive:
                return connection
            connection.cancel()  # the server went away while it was idle
        return _Connection(self._url)

    def _keep(self, connection: "_Connection") -> bool:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
            return not self._closed


class _Connection:
    def __init__(self, url: str) -> None:
        self._results: queue.Queue[InferResult | InferenceServerException] = queue.Queue()
        self._client = InferenceServerClient(url)
        self._client.start_stream(self._receive)

    @property
    def is_alive(self) -> bool:
        """Of an idle connection: nothing may come between requests but the error that ended the stream."""
        return self._results.empty()

    def infer(self, tensors: list[InferInput], timeout: float) -> Iterator[Outputs]:
        outputs = [InferRequestedOutput(name) for name in OUTPUTS]
        try:
            self._client.async_stream_infer(MODEL, tensors, outputs=outputs, enable_empty_final_response=True)
        except InferenceServerException as error:
            raise from_triton(error) from None
        while True:
            result = self._next(timeout)
            response = result.get_response()
            arrays = {tensor.name: result.as_numpy(tensor.name) for tensor in response.outputs}
            if arrays:
                yield arrays
            if response.parameters["triton_final_response"].bool_param:
                return

    def cancel(self) -> None:
        """End the stream and whatever the server still does for it."""
        self._client.stop_stream(cancel_requests=True)
        self._client.close()

    def _receive(self, result: InferResult | None, error: InferenceServerException | None) -> None:
        received = error if error is not None else result
        assert received is not None
        self._results.put(received)

    def _next(self, timeout: float) -> InferResult:
        try:
            result = self._results.get(timeout=timeout)
        except queue.Empty:
            raise RequestTimeout(f"no answer within {timeout:g} s") from None
        if isinstance(result, InferenceServerException):
            raise from_triton(result) from None
        return result
