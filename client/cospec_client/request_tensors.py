"""A request's options as Triton tensors."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from tritonclient.grpc import InferInput
from tritonclient.utils import triton_to_np_dtype

from cospec_client.errors import InvalidRequest
from cospec_client.signatures import INPUTS


def request_tensors(options: Mapping[str, Any]) -> list[InferInput]:
    """One tensor of dims [n] per option that is not None; raises `InvalidRequest` naming the option."""
    return [_tensor(name, value) for name, value in options.items() if value is not None]


def _tensor(name: str, value: Any) -> InferInput:
    if name not in INPUTS:
        raise InvalidRequest(f"unknown option {name!r}; options: {', '.join(INPUTS)}")
    array = _array(name, INPUTS[name], value)
    tensor = InferInput(name, list(array.shape), INPUTS[name])
    tensor.set_data_from_numpy(array)
    return tensor


def _array(name: str, dtype: str, value: Any) -> "np.ndarray[Any, Any]":
    values = value if isinstance(value, (list, tuple)) else [value]
    try:
        return np.asarray([_CHECKS[dtype](item) for item in values], dtype=triton_to_np_dtype(dtype))
    except (TypeError, ValueError, OverflowError):
        raise InvalidRequest(f"{name} must be {_KINDS[dtype]}, got {value!r}") from None


def _text(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise TypeError
    return value.encode()  # a lone surrogate is a UnicodeEncodeError, which is a ValueError


def _whole(value: Any, dtype: "type[np.integer[Any]]") -> int:
    # NumPy would cut 0.5 to 0 and wrap 2**40 around, in silence.
    if isinstance(value, bool) or int(value) != value:
        raise TypeError
    if not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
        raise OverflowError
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, (bool, str)):
        raise TypeError
    return float(value)


def _truth(value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError
    return bool(value)


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "BYTES": _text,
    "INT32": partial(_whole, dtype=np.int32),
    "UINT64": partial(_whole, dtype=np.uint64),
    "FP32": _number,
    "BOOL": _truth,
}
_KINDS = {
    "BYTES": "text",
    "INT32": "a whole number of 32 bits",
    "UINT64": "a whole number from 0 to 2**64 - 1",
    "FP32": "a number",
    "BOOL": "True or False",
}
