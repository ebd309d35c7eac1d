"""Fixtures of the engine tier; `tiny.py` makes the models."""

from tiny import checkpoint

__all__ = ["checkpoint"]
