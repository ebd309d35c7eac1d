"""Settings of a server that is measured: the shipped ones, with a few changed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from loadtests.environment import DEFAULT_SETTINGS

Overrides = Mapping[str, Any]


def merged(settings: Overrides, changes: Overrides) -> dict[str, Any]:
    """`settings` with the keys of `changes`, at any depth, replaced or added."""
    result = dict(settings)
    for key, value in changes.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return result


def write_changed(changes: Overrides, path: Path, base: Path = DEFAULT_SETTINGS) -> Path:
    """`base` with `changes`, at `path`; the server itself refuses what it does not know."""
    settings = yaml.safe_load(base.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(merged(settings, changes), sort_keys=False), encoding="utf-8")
    return path


def read_changes(path: Path) -> dict[str, Any]:
    """A YAML mapping. Raises OSError if it cannot be read, ValueError if it is none."""
    try:
        changes = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(changes, dict):
        raise ValueError(f"{path}: must be a mapping such as `speculation: {{width: 2}}`, got {changes!r}")
    return changes
