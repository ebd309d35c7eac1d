"""Records on disk: JSON lines between processes, CSV for people."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from loadtests.generator.record import Record
from loadtests.objectives import Objectives

COLUMNS = (
    "at_s",
    "domain",
    "class",
    "outcome",
    "attained",
    "counted",
    "lag_ms",
    "ttft_ms",
    "tpot_ms",
    "e2e_ms",
    "input_tokens",
    "output_tokens",
    "rounds",
    "draft_tokens",
    "accepted_tokens",
    "error",
)


def write_records(records: Iterable[Record], path: Path) -> None:
    path.write_text("".join(json.dumps(record.as_dict()) + "\n" for record in records), encoding="utf-8")


def read_records(path: Path) -> list[Record]:
    return [Record.parse(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def write_csv(records: Sequence[Record], warm_up: float, objectives: Objectives, path: Path) -> None:
    """A row a request, in order of time; times in milliseconds. `counted`: sent after the warm-up."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for record in sorted(records, key=lambda each: each.at):
            attained = record.attains(objectives.of(record.slo_class))
            writer.writerow(_row(record, int(attained), int(record.at >= warm_up)))


def _row(record: Record, attained: int, counted: int) -> tuple[object, ...]:
    times = (record.lag, record.ttft, record.tpot, record.latency)
    return (
        f"{record.at:.4f}",
        record.domain,
        record.slo_class,
        record.outcome,
        attained,
        counted,
        *(f"{seconds * 1e3:.3f}" for seconds in times),
        record.input_tokens,
        record.output_tokens,
        record.rounds,
        record.num_draft_tokens,
        record.num_accepted_tokens,
        record.error,
    )
