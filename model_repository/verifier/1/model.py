"""The verifier: checks the draft trees of many sequences in one forward pass. Triton's dynamic batcher joins calls."""

from cospec.triton_models import VerifierModel as TritonPythonModel

__all__ = ["TritonPythonModel"]
