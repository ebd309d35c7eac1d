"""What can go wrong, as exceptions. `CospecError` is the root; the message is the server's own sentence."""

from tritonclient.utils import InferenceServerException


class CospecError(Exception):
    """Any failure of a request."""


class InvalidRequest(CospecError):
    """A value that the caller must change (INVALID_ARGUMENT)."""


class Unavailable(CospecError):
    """The server is not there, not ready, or full (UNAVAILABLE): worth another try later."""


class RequestTimeout(CospecError):
    """No answer within the client's timeout."""


class ServerError(CospecError):
    """Everything else that the server reports."""


_BY_STATUS: dict[str, type[CospecError]] = {
    "INVALID_ARGUMENT": InvalidRequest,
    "UNAVAILABLE": Unavailable,
    "DEADLINE_EXCEEDED": RequestTimeout,
}


def from_triton(error: InferenceServerException) -> CospecError:
    """The one place where tritonclient's exceptions become ours.

    An error on a gRPC stream is a bare sentence, without a status: the orchestrator puts the status before it.
    Triton's header `triton_grpc_error` would bring the status, but crashes a server of version 24.10.
    """
    sentence = error.message() or str(error)
    status = str(error.status() or "").removeprefix("StatusCode.")
    named, separator, rest = sentence.partition(": ")
    if separator and named in _BY_STATUS:
        status, sentence = named, rest
    return _BY_STATUS.get(status, ServerError)(sentence)
