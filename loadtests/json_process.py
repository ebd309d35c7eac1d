"""A measurement in a process of its own, which prints JSON: its threads and memory are gone when the next one runs."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any


class CommandFailed(RuntimeError):
    """What was to print JSON did not end well; the message is the end of its output."""


def json_of(
    command: Sequence[str], name: str, *, stdin: str = "", environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The last line that `command` prints. `name` is what an error calls it. Raises `CommandFailed`."""
    result = subprocess.run(
        command, input=stdin, capture_output=True, text=True, env={**os.environ, **(environment or {})}
    )
    try:
        if result.returncode == 0:
            return dict(json.loads(result.stdout.splitlines()[-1]))
    except (IndexError, ValueError):
        pass
    raise CommandFailed(f"{name} (exit code {result.returncode}): {(result.stderr or result.stdout).strip()[-500:]}")
