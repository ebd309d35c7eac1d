"""Runs a plan against a server in a process of Locust's own, or several, and brings back every record."""

import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from loadtests.bad_input import BadInput
from loadtests.generator.plan import GRPC, Plan
from loadtests.generator.record import Record
from loadtests.server_process import Addresses
from loadtests.slo.records_file import read_records

ROOT = Path(__file__).resolve().parent.parent.parent
LOCUSTFILE = ROOT / "loadtests" / "locustfile.py"
FIRST = -10  # priority, as `nice` counts
SPARE = 120.0  # seconds beyond a plan's own in which Locust must have ended


class GeneratorFailed(RuntimeError):
    """Locust ended without records; the message is the end of its output."""


@dataclass(frozen=True)
class Generated:
    """`priority`: the generator's, as `nice` counts; below 0 it goes before a server on the same processor."""

    records: list[Record]
    priority: int


def generate(plan: Plan, addresses: Addresses, workers: int = 1) -> Generated:
    """Raises `GeneratorFailed`, `BadInput`."""
    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder) / "records.jsonl"
        command = [*locust_command(plan, addresses), "--headless", f"--records={records}", "--only-summary"]
        users = [f"--users={plan.users if plan.is_closed else workers}", f"--spawn-rate={max(plan.users, workers)}"]
        spread = [f"--processes={workers}"] if workers > 1 else []
        with subprocess.Popen(
            [*command, *users, *spread], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment()
        ) as process:
            priority = _put_first(process.pid)
            last_line = _last_line_of(process, plan.end + plan.grace + SPARE)
        if process.returncode == 2:
            raise BadInput(last_line.removeprefix("loadtest: "))
        if not records.is_file():
            raise GeneratorFailed(f"Locust ended with exit code {process.returncode}: {last_line}")
        return Generated(read_records(records), priority)


def locust_command(plan: Plan, addresses: Addresses) -> list[str]:
    """Locust on our locustfile, with the plan as its options."""
    host = addresses.grpc if plan.protocol == GRPC else f"http://{addresses.http}"
    own = [argument for argument in plan.arguments() if not argument.startswith("--users=")]
    return [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), f"--host={host}", *own]


def _put_first(pid: int) -> int:
    """Where the system allows it: what sends must be on time, whatever it shares a processor with."""
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, pid, FIRST)
    return os.getpriority(os.PRIO_PROCESS, pid)


def _last_line_of(process: "subprocess.Popen[str]", limit: float) -> str:
    """Of its errors, when it has ended; it does not outlive a failure of ours."""
    try:
        _, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        raise GeneratorFailed(f"Locust did not end within {limit:g} s") from None
    finally:
        process.kill()
    return (errors.strip().splitlines() or ["no output"])[-1]


def environment() -> dict[str, str]:
    """In which this package is found from any folder, such as the one that a trace's path is relative to."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
