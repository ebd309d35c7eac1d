"""A drafter: guesses the next tokens of many sequences in one call. The model's name says whose weights it loads."""

from cospec.triton_models import DrafterModel as TritonPythonModel

__all__ = ["TritonPythonModel"]
