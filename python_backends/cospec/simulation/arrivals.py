"""Which requests come when: from a trace, or by chance."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

# What public traces call them: Azure's (CSV), Mooncake's (JSON lines, milliseconds), and plain names.
TIMES = ("TIMESTAMP", "timestamp", "arrival_s")
PROMPTS = ("ContextTokens", "input_length", "prompt_tokens")
OUTPUTS = ("GeneratedTokens", "output_length", "output_tokens")
MILLISECONDS = "timestamp"  # the column whose numbers they are


class TraceError(ValueError):
    """A trace that cannot be used; the message names file, line and remedy."""


@dataclass(frozen=True)
class Arrival:
    at: float  # seconds from the start
    prompt_tokens: int
    output_tokens: int


def poisson(rate: float, seconds: float, prompt_tokens: int, output_tokens: int, seed: int) -> list[Arrival]:
    """`rate`: requests a second; lengths are geometric around their means."""
    random = np.random.default_rng(seed)
    times = np.sort(random.uniform(0, seconds, random.poisson(rate * seconds)))
    prompts, outputs = (random.geometric(1 / mean, len(times)) for mean in (prompt_tokens, output_tokens))
    return [Arrival(*each) for each in zip(times.tolist(), prompts.tolist(), outputs.tolist(), strict=True)]


def read_trace(path: Path) -> list[Arrival]:
    """Raises `TraceError`."""
    try:
        with path.open(encoding="utf-8") as file:
            rows = list(map(json.loads, file)) if path.suffix == ".jsonl" else list(csv.DictReader(file))
    except (OSError, ValueError) as error:
        raise TraceError(f"{path}: cannot be read as a trace: {error}") from error
    if not rows:
        raise TraceError(f"{path}: holds no arrival")
    arrivals = list(_arrivals(path, rows))
    start = arrivals[0].at
    return [Arrival(each.at - start, each.prompt_tokens, each.output_tokens) for each in arrivals]


def fitted(arrivals: Iterable[Arrival], speed: float, share: float, room: int, seed: int) -> list[Arrival]:
    """`speed` times as fast, of which a random `share` comes, cut to `room` tokens of prompt and output: of what does
    not fit, the output keeps a quarter of the room, and the prompt the rest."""
    random = np.random.default_rng(seed)
    return [
        Arrival(each.at / speed, *_cut(each.prompt_tokens, each.output_tokens, room))
        for each in arrivals
        if share >= 1 or random.random() < share
    ]


def _cut(prompt: int, output: int, room: int) -> tuple[int, int]:
    prompt = min(prompt, room - min(output, room // 4))
    return prompt, min(output, room - prompt)


def _arrivals(path: Path, rows: list[Any]) -> Iterator[Arrival]:
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise TraceError(f"{path}: arrival {number} is no JSON object: {row!r}")
    names = [_column(path, rows[0], choices) for choices in (TIMES, PROMPTS, OUTPUTS)]
    latest = -np.inf
    for number, row in enumerate(rows, start=1):
        try:
            at, prompt, output = _seconds(names[0], row[names[0]]), int(row[names[1]]), int(row[names[2]])
        except (KeyError, TypeError, ValueError):
            raise TraceError(f"{path}: arrival {number} has no usable time and lengths: {dict(row)}") from None
        if at < latest:
            raise TraceError(f"{path}: arrival {number} comes before the one above it; times must not run backwards")
        latest = at
        yield Arrival(at, max(1, prompt), max(1, output))


def _column(path: Path, row: Mapping[str, Any], choices: tuple[str, ...]) -> str:
    for name in choices:
        if name in row:
            return name
    raise TraceError(f"{path}: has no column {' or '.join(choices)}; columns: {', '.join(row)}")


def _seconds(column: str, value: Any) -> float:
    """Of a number of seconds, in Mooncake's column of milliseconds, or of a date with time, UTC unless it says else."""
    try:
        return float(value) / (1e3 if column == MILLISECONDS else 1)
    except ValueError:  # Azure writes seven decimals of a second, Python reads six
        six = re.sub(r"\.(\d+)", lambda match: "." + match[1][:6].ljust(6, "0"), str(value))
        moment = datetime.fromisoformat(six)
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
