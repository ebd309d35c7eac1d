"""Recorded traffic: Azure's CSV (TIMESTAMP, ContextTokens, GeneratedTokens) and Mooncake's JSONL (milliseconds)."""

import csv
import io
import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from loadtests.bad_input import BadInput
from loadtests.metrics import percentile

AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
FILLED = 0.85  # of the context at most: a prompt's tokens are known only to about a tenth before they are counted
MOONCAKE = ("timestamp", "input_length", "output_length")


@dataclass(frozen=True)
class Row:
    """A recorded request; `at`: seconds, from whatever the trace counts from."""

    at: float
    input_tokens: int
    output_tokens: int


def read_trace(path: Path) -> list[Row]:
    """In order, from 0 seconds on. Raises `BadInput`, naming file and line."""
    parsers: dict[str, Callable[[str], Iterator[tuple[int, Row]]]] = {".csv": _azure, ".jsonl": _mooncake}
    if path.suffix not in parsers:
        raise BadInput(f"trace {path} must end in .csv (Azure) or .jsonl (Mooncake)")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"trace {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        return _from_zero(list(parsers[path.suffix](text)))
    except BadInput as error:
        raise BadInput(f"trace {path}: {error}") from None


def replayed(
    rows: Sequence[Row], *, rate: float, speed: float, skip: float, duration: float, context: int
) -> list[Row]:
    """The part that is sent: times divided by `speed`, or so that the whole trace's mean rate is `rate` where it is 0.

    Lengths shrink by one factor, so that 99 of 100 requests fit the model's `context` and proportions stay; what is
    longer still shrinks until it fits, so that no outlier makes all others short. `skip`: seconds of the recording
    to leave out.
    """
    speed = speed or rate / mean_rate(rows)
    room = int(context * FILLED)
    factor = room / max(room, percentile([_length(row) for row in rows], 0.99))
    moved = (_shrunk(replace(row, at=(row.at - skip) / speed), factor, room) for row in rows if row.at >= skip)
    kept = [row for row in moved if row.at < duration]
    if not kept:
        raise BadInput(f"the trace has no request in {duration * speed:g} s after its first {skip:g} s")
    return kept


def mean_rate(rows: Sequence[Row]) -> float:
    """Requests per second of the whole recording."""
    return (len(rows) - 1) / rows[-1].at if rows[-1].at else float(len(rows))


def _length(row: Row) -> int:
    return row.input_tokens + row.output_tokens


def _shrunk(row: Row, factor: float, room: int) -> Row:
    factor = min(factor, room / max(1, _length(row)))
    return replace(
        row,
        input_tokens=max(1, int(row.input_tokens * factor)),
        output_tokens=max(1, int(row.output_tokens * factor)),
    )


def _from_zero(numbered: list[tuple[int, Row]]) -> list[Row]:
    if not numbered:
        raise BadInput("it holds no request")
    for (_, before), (line, row) in itertools.pairwise(numbered):
        if row.at < before.at:
            raise BadInput(f"line {line}: time runs backwards, {before.at - row.at:g} s before the line above")
    start = numbered[0][1].at
    return [replace(row, at=row.at - start) for _, row in numbered]


def _azure(text: str) -> Iterator[tuple[int, Row]]:
    reader = csv.DictReader(io.StringIO(text))
    missing = [name for name in AZURE if name not in (reader.fieldnames or ())]
    if text.strip() and missing:
        raise BadInput(f"the header lacks {', '.join(missing)}")
    for line, fields in enumerate(reader, start=2):
        yield line, _row(line, [fields[name] for name in AZURE], _moment)


def _mooncake(text: str) -> Iterator[tuple[int, Row]]:
    for line, content in enumerate(text.splitlines(), start=1):
        if content.strip():
            yield line, _row(line, _values(line, content), lambda value: float(value) / 1e3)


def _values(line: int, content: str) -> list[Any]:
    try:
        fields = json.loads(content)
        return [fields[name] for name in MOONCAKE]
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"line {line} must be a JSON object with {', '.join(MOONCAKE)}") from None


def _row(line: int, values: Sequence[Any], seconds: Callable[[Any], float]) -> Row:
    try:
        row = Row(seconds(values[0]), int(values[1]), int(values[2]))
    except (TypeError, ValueError):
        raise BadInput(f"line {line} is no request: {values!r}") from None
    if row.input_tokens < 0 or row.output_tokens < 0:
        raise BadInput(f"line {line} has a negative length: {values!r}")
    return row


def _moment(text: str) -> float:
    """Azure writes seven decimals of a second, Python reads six; what names no time zone is UTC."""
    moment = datetime.fromisoformat(re.sub(r"\.(\d+)", lambda match: "." + match[1][:6].ljust(6, "0"), text.strip()))
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
