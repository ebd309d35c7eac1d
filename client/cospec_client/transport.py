"""gRPC streams to Triton. A stream carries one request at a time and is used again, so a request costs no handshake."""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from cospec_client.errors import CospecError, RequestTimeout, from_triton
from cospec_client.signatures import INPUTS, MODEL, OUTPUTS

Outputs = Mapping[str, "np.ndarray[Any, Any]"]


class Transport(Protocol):
    def stream(self, inputs: Mapping[str, Any]) -> Iterator[Outputs]:
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
        self._lock = threading.Lock()

    def stream(self, inputs: Mapping[str, Any]) -> Iterator[Outputs]:
        connection = self._take()
        finished = False
        try:
            yield from connection.infer(inputs, self._timeout)
            finished = True
        finally:
            if finished:
                with self._lock:
                    self._idle.append(connection)
            else:
                connection.cancel()

    def is_ready(self) -> bool:
        """Whether the orchestrator and all it needs are loaded."""
        try:
            with InferenceServerClient(self._url) as client:
                return bool(client.is_server_ready() and client.is_model_ready(MODEL))
        except InferenceServerException:
            return False

    def close(self) -> None:
        with self._lock:
            connections, self._idle = self._idle, []
        for connection in connections:
            connection.cancel()

    def _take(self) -> "_Connection":
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return _Connection(self._url)


class _Connection:
    def __init__(self, url: str) -> None:
        self._results: queue.Queue[InferResult | InferenceServerException] = queue.Queue()
        self._client = InferenceServerClient(url)
        # Without this header an error is a bare sentence; with it, it keeps its status code.
        self._client.start_stream(self._receive, headers={"triton_grpc_error": "true"})

    def infer(self, inputs: Mapping[str, Any], timeout: float) -> Iterator[Outputs]:
        outputs = [InferRequestedOutput(name) for name in OUTPUTS]
        try:
            self._client.async_stream_infer(MODEL, _tensors(inputs), outputs=outputs, enable_empty_final_response=True)
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


def _tensors(inputs: Mapping[str, Any]) -> list[InferInput]:
    return [_tensor(name, value) for name, value in inputs.items() if value is not None]


def _tensor(name: str, value: Any) -> InferInput:
    if name not in INPUTS:
        raise CospecError(f"unknown option {name!r}; options: {', '.join(INPUTS)}")
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    convert: Callable[[Any], Any] = lambda item: item.encode() if isinstance(item, str) else item  # noqa: E731
    array = np.asarray([convert(item) for item in values], dtype=triton_to_np_dtype(INPUTS[name]))
    tensor = InferInput(name, list(array.shape), INPUTS[name])
    tensor.set_data_from_numpy(array)
    return tensor
