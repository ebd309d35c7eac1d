"""The part of Triton's `triton_python_backend_utils` that the shims use, as plain Python."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1


class TritonModelException(Exception):
    pass


class TritonError:
    UNKNOWN, INTERNAL, NOT_FOUND, INVALID_ARG, UNAVAILABLE, UNSUPPORTED, ALREADY_EXISTS, CANCELLED = range(8)

    def __init__(self, message: str, code: int = INTERNAL) -> None:
        self._message = message
        self._code = code

    def message(self) -> str:
        return self._message

    def code(self) -> int:
        return self._code


class Tensor:
    def __init__(self, name: str, array: "np.ndarray[Any, Any]") -> None:
        assert array.size, f"tensor {name} of size 0 breaks the Python backend"
        self._name = name
        self._array = array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> "np.ndarray[Any, Any]":
        return self._array


class InferenceResponse:
    def __init__(self, output_tensors: Sequence[Tensor] = (), error: TritonError | None = None) -> None:
        self._tensors = list(output_tensors)
        self._error = error

    def output_tensors(self) -> list[Tensor]:
        return self._tensors

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> TritonError | None:
        return self._error


class ResponseSender:
    """Keeps what was sent; a send after FINAL fails as Triton's does."""

    def __init__(self) -> None:
        self.responses: list[InferenceResponse] = []
        self.num_finals = 0
        self.cancelled = False

    def send(self, response: InferenceResponse | None = None, flags: int = 0) -> None:
        if self.num_finals:
            raise TritonModelException("the response sender has been closed")
        if response is not None:
            self.responses.append(response)
        self.num_finals += flags & TRITONSERVER_RESPONSE_COMPLETE_FINAL

    def is_cancelled(self) -> bool:
        return self.cancelled


class InferenceRequest:
    """As a request that arrives; as a BLS request when `callees` knows the model."""

    callees: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        model_name: str = "",
        requested_output_names: Sequence[str] = (),
        inputs: Sequence[Tensor] = (),
    ) -> None:
        self._model_name = model_name
        self._inputs = list(inputs)
        self.sender = ResponseSender()

    def inputs(self) -> list[Tensor]:
        return self._inputs

    def get_response_sender(self) -> ResponseSender:
        return self.sender

    def exec(self) -> InferenceResponse:
        if self._model_name not in self.callees:
            raise TritonModelException(f"model {self._model_name!r} is not ready")
        [response] = self.callees[self._model_name].execute([self])
        return response  # type: ignore[no-any-return]


class Logger:
    """Collects warnings and errors."""

    lines: ClassVar[list[str]] = []

    @classmethod
    def log_warn(cls, message: str) -> None:
        cls.lines.append(message)

    log_error = log_info = log_verbose = log_warn


class Metric:
    def __init__(self, labels: dict[str, str], buckets: Sequence[float] = ()) -> None:
        self.labels = labels
        self.buckets = list(buckets)
        self.total = 0.0
        self.observed: list[float] = []

    def increment(self, amount: float) -> None:
        assert amount >= 0, "a counter cannot fall"
        self.total += amount

    def set(self, value: float) -> None:
        self.total = value

    def observe(self, value: float) -> None:
        self.observed.append(value)


class MetricFamily:
    """Keeps what was published, of all families by name. Triton demands buckets of histograms, and of them alone."""

    COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
    published: ClassVar[dict[str, list[Metric]]] = {}

    def __init__(self, name: str, description: str, kind: str) -> None:
        assert name and description
        self._name = name
        self._kind = kind

    def Metric(self, labels: dict[str, str] | None = None, buckets: Sequence[float] | None = None) -> Metric:
        assert (buckets is not None) == (self._kind == "histogram")
        metric = Metric(labels or {}, buckets or ())
        self.published.setdefault(self._name, []).append(metric)
        return metric
