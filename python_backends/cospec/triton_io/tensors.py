"""Triton's tensors and responses to NumPy arrays and back."""

import triton_python_backend_utils as pb_utils

from cospec.triton_io.rows import Arrays


def read_inputs(request: "pb_utils.InferenceRequest") -> Arrays:
    return {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}


def read_outputs(response: "pb_utils.InferenceResponse") -> Arrays:
    return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}


def as_tensors(arrays: Arrays) -> list["pb_utils.Tensor"]:
    return [pb_utils.Tensor(name, array) for name, array in arrays.items()]


def answer(arrays: Arrays) -> "pb_utils.InferenceResponse":
    return pb_utils.InferenceResponse(output_tensors=as_tensors(arrays))
