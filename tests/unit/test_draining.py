"""The gate between server and orchestrator: nobody new comes in, everybody inside may end."""

import threading
import time
from pathlib import Path

from cospec.draining import Gate


def test_both_sides_see_the_same_gate(tmp_path: Path) -> None:
    server, orchestrator = Gate.make(tmp_path / "cospec.yaml"), Gate(tmp_path / "cospec.yaml")
    orchestrator.live += 2
    assert (server.live, orchestrator.is_closed) == (2, False)
    assert server.drain(0) == 2
    assert orchestrator.is_closed


def test_draining_waits_for_the_last_request_and_no_longer(tmp_path: Path) -> None:
    server, orchestrator = Gate.make(tmp_path / "cospec.yaml"), Gate(tmp_path / "cospec.yaml")
    orchestrator.live = 1
    timer = threading.Timer(0.3, setattr, (orchestrator, "live", 0))
    started = time.monotonic()
    timer.start()
    assert server.drain(30) == 0
    assert 0.3 <= time.monotonic() - started < 5


def test_a_gate_that_nobody_made_is_open(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "cospec.yaml")
    gate.live += 1
    assert not gate.is_closed
    assert not list(tmp_path.iterdir())
