"""Runs a plan against a server in a process of Locust's own, or several, and brings back every record."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from loadtests.bad_input import BadInput
from loadtests.generator.plan import GRPC, Plan
from loadtests.generator.record import Record
from loadtests.server_process import Addresses, free_ports
from loadtests.slo.records_file import read_records
from loadtests.telling import tell, told

ROOT = Path(__file__).resolve().parent.parent.parent
LOCUSTFILE = ROOT / "loadtests" / "locustfile.py"
SPARE = 120.0  # seconds beyond a plan's own in which Locust must have ended


class GeneratorFailed(RuntimeError):
    """Locust ended without records; the message is the end of its output."""


def generate(plan: Plan, addresses: Addresses, workers: int = 1) -> list[Record]:
    """Raises `GeneratorFailed`, `BadInput`."""
    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder) / "records.jsonl"
        command = [*locust_command(plan, addresses), "--headless", f"--records={records}", "--only-summary"]
        users = [f"--users={plan.users if plan.is_closed else workers}", f"--spawn-rate={max(plan.users, workers)}"]
        result = _run([*command, *users, *_spread(workers)], plan.end + plan.grace + SPARE)
        if result.returncode == 2:
            raise BadInput(_reason(result.stderr))
        if not records.is_file():
            raise GeneratorFailed(f"Locust ended with exit code {result.returncode}: {_reason(result.stderr)}")
        for sentence in told(result.stderr):
            tell(sentence)
        return read_records(records)


def _spread(workers: int) -> list[str]:
    """Over processes that meet at a port of their own: at Locust's usual one, two runs would take each other's."""
    if workers == 1:
        return []
    [port] = free_ports(1)
    meeting = ["--master-bind-host=127.0.0.1", f"--master-bind-port={port}", f"--master-port={port}"]
    return [f"--processes={workers}", *meeting]


def locust_command(plan: Plan, addresses: Addresses) -> list[str]:
    """Locust on our locustfile, with the plan as its options."""
    host = addresses.grpc if plan.protocol == GRPC else f"http://{addresses.http}"
    own = [argument for argument in plan.arguments() if not argument.startswith("--users=")]
    return [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), f"--host={host}", *own]


def _run(command: list[str], limit: float) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=limit, env=environment())
    except subprocess.TimeoutExpired:
        raise GeneratorFailed(f"Locust did not end within {limit:g} s") from None


def _reason(errors: str) -> str:
    """What our part of Locust said, which other processes may have written after; or the last that anything said."""
    lines = told(errors) or errors.strip().splitlines() or ["no output"]
    return lines[-1]


def environment() -> dict[str, str]:
    """In which this package is found from any folder, such as the one that a trace's path is relative to."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
