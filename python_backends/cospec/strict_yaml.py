"""A YAML mapping as a frozen dataclass, strictly: an unknown key or a bad value is one sentence naming its path."""

import dataclasses
import re
import types
import typing
from dataclasses import field
from pathlib import Path
from typing import Any, TypeVar

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+):[0-9]{1,5}$")

T = TypeVar("T")


class SettingsError(ValueError):
    """Settings that cannot be used; the message names the key and the allowed values."""


def between(low: float, high: float, default: Any) -> Any:
    """A number."""
    return field(default=default, metadata={"low": low, "high": high})


def one_of(choices: tuple[str, ...], default: str) -> Any:
    """A word."""
    return field(default=default, metadata={"choices": choices})


def absolute_path() -> Any:
    """Of a file; empty: none."""
    return field(default="", metadata={"absolute": True})


def addresses() -> Any:
    """A list of host:port."""
    return field(default=(), metadata={"addresses": True})


def build(cls: type[T], document: Any, path: str) -> T:
    """`path`: of the mapping in its file, empty for the whole; raises `SettingsError`."""
    if not isinstance(document, dict):
        raise SettingsError(f"{path or 'the document'} must be a mapping, got {document!r}")
    hints = typing.get_type_hints(cls)
    fields = {item.name: item for item in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in document:
        if key not in fields:
            raise SettingsError(f"unknown key {_join(path, key)}; allowed: {', '.join(fields)}")
    return cls(**{key: _value(hints[key], fields[key], value, _join(path, key)) for key, value in document.items()})


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _value(kind: Any, item: "dataclasses.Field[Any]", value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return build(typing.cast(type, kind), value, path)
    if typing.get_origin(kind) is types.UnionType:  # a mapping that may be left out
        return None if value is None else _value(typing.get_args(kind)[0], item, value, path)
    if typing.get_origin(kind) is dict:
        return _mapping(kind, item, value, path)
    if typing.get_origin(kind) is tuple:
        return _addresses(value, path) if "addresses" in item.metadata else _names(value, path)
    if kind is str:
        return _text(item.metadata, value, path)
    if kind is bool:
        return _truth(value, path)
    return _number(kind, item.metadata, value, path)


def _mapping(kind: Any, item: "dataclasses.Field[Any]", value: Any, path: str) -> dict[Any, Any]:
    keys, values = typing.get_args(kind)
    if not isinstance(value, dict) or not all(type(key) is keys for key in value):
        raise SettingsError(
            f"{path} must be a mapping from {'names' if keys is str else 'whole numbers'}, got {value!r}"
        )
    return {key: _value(values, item, each, _join(path, key)) for key, each in value.items()}


def _addresses(value: Any, path: str) -> tuple[str, ...]:
    valid = isinstance(value, list) and value and all(isinstance(url, str) and _ADDRESS.match(url) for url in value)
    if not valid or len(set(value)) != len(value):
        raise SettingsError(f"{path} must be a list of distinct host:port, got {value!r}")
    return tuple(value)


def _names(value: Any, path: str) -> tuple[str, ...]:
    valid = isinstance(value, list) and all(isinstance(name, str) and name.isidentifier() for name in value)
    if not valid or len(set(value)) != len(value):
        raise SettingsError(f"{path} must be a list of distinct names, got {value!r}")
    return tuple(value)


def _text(limits: "types.MappingProxyType[Any, Any]", value: Any, path: str) -> str:
    choices = limits.get("choices")
    if not isinstance(value, str) or (choices and value not in choices):
        allowed = f"one of {', '.join(choices)}" if choices else "text"
        raise SettingsError(f"{path} must be {allowed}, got {value!r}")
    if value and "absolute" in limits and not Path(value).is_absolute():
        raise SettingsError(f"{path} must be an absolute path, got {value!r}")
    return value


def _truth(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise SettingsError(f"{path} must be true or false, got {value!r}")
    return value


def _number(kind: type, limits: "types.MappingProxyType[Any, Any]", value: Any, path: str) -> Any:
    low, high = limits["low"], limits["high"]
    expected: type | tuple[type, ...] = int if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, expected) or not low <= value <= high:
        noun = "a whole number" if kind is int else "a number"
        raise SettingsError(f"{path} must be {noun} from {low} to {high}, got {value!r}")
    return kind(value)
