"""Our exceptions to Triton's error codes: one sentence for the client, the traceback for the log.

The status stands before the sentence too, since a gRPC stream drops the code and keeps the sentence.
"""

import triton_python_backend_utils as pb_utils

from cospec.speculation.request import InvalidRequest
from cospec.speculation.sequence import CalleeError


class Overloaded(RuntimeError):
    """The server has as many requests as it may hold."""


def error_response(error: BaseException) -> "pb_utils.InferenceResponse":
    return pb_utils.InferenceResponse(error=triton_error(error))


def triton_error(error: BaseException) -> "pb_utils.TritonError":
    codes = pb_utils.TritonError
    if isinstance(error, InvalidRequest):
        return codes(f"INVALID_ARGUMENT: {error}", codes.INVALID_ARG)
    if isinstance(error, (Overloaded, CalleeError)):
        return codes(f"UNAVAILABLE: {error}", codes.UNAVAILABLE)
    pb_utils.Logger.log_error(f"unexpected {type(error).__name__}: {error}")
    return codes("internal error; see the server's log", codes.INTERNAL)
