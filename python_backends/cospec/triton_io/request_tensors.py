"""The orchestrator's input tensors to `RequestFields`, and a chunk of its answer to output tensors."""

import json
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from cospec.speculation.request import InvalidRequest, RequestFields, check_text
from cospec.speculation.sequence import Sequence
from cospec.triton_io.rows import Arrays
from cospec.triton_io.tensors import answer, read_inputs


def read_fields(request: "pb_utils.InferenceRequest") -> RequestFields:
    """Copy every input out of Triton's memory; raises `InvalidRequest`."""
    arrays = read_inputs(request)
    parameters = arrays.pop("sampling_parameters", None)
    stop_words = arrays.pop("stop_words", None)
    text = check_text(_scalar("text_input", arrays.pop("text_input")))
    values = {name: _plain(name, array) for name, array in arrays.items()}
    if stop_words is not None:
        values["stop_words"] = tuple(_utf8("stop_words", word) for word in stop_words.reshape(-1).tolist())
    fields = RequestFields(text, **values)
    if parameters is None:
        return fields
    return fields.with_json(_utf8("sampling_parameters", _scalar("sampling_parameters", parameters)))


def _plain(name: str, array: "np.ndarray[Any, Any]") -> Any:
    value = _scalar(name, array)
    return _utf8(name, value) if isinstance(value, bytes) else value


def _scalar(name: str, array: "np.ndarray[Any, Any]") -> Any:
    if array.size != 1:
        raise InvalidRequest(f"{name} must hold exactly one value, got shape {list(array.shape)}")
    return array.reshape(-1)[0] if array.dtype == object else array.reshape(-1)[0].item()


def _utf8(name: str, value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest(f"{name} is not valid UTF-8") from None


def chunk_response(
    sequence: Sequence, fields: RequestFields, text: str, num_new_tokens: int
) -> "pb_utils.InferenceResponse":
    """What is new since the last chunk, and what the caller asked to know; `num_output_tokens` is a difference."""
    arrays: Arrays = {"text_output": _strings(text)}
    if fields.return_num_input_tokens:
        arrays["num_input_tokens"] = np.asarray([len(sequence.request.prompt)], dtype=np.uint32)
    if fields.return_num_output_tokens:
        arrays["num_output_tokens"] = np.asarray([num_new_tokens], dtype=np.uint32)
    if sequence.finish is not None and fields.return_finish_reason:
        arrays["finish_reason"] = _strings(sequence.finish.reason)
        arrays["stop_reason"] = _strings(sequence.finish.detail)
    if sequence.finish is not None and fields.return_perf_metrics:
        arrays["perf_metrics"] = _strings(
            json.dumps({**sequence.statistics.as_dict(), "routing": sequence.routing.as_dict()})
        )
    return answer(arrays)


def _strings(text: str) -> "np.ndarray[Any, Any]":
    return np.asarray([text.encode("utf-8")], dtype=object)
