"""Locust's web UI with our options, tab and report: in a process of its own, since Locust patches the one it is in."""

import json
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from loadtests.generator.plan import Plan
from loadtests.server_process import Addresses, free_ports
from loadtests.slo.generate import environment, locust_command

Get = Callable[[str], str]


@pytest.fixture(scope="module")
def get() -> Iterator[Get]:
    """Asks the web UI for a path."""
    [port] = free_ports(1)
    command = locust_command(Plan(rate=7.0), Addresses("localhost:1", "localhost:2", "localhost:3"))
    process = subprocess.Popen(
        [*command, f"--web-port={port}", "--web-host=127.0.0.1"], stderr=subprocess.DEVNULL, env=environment()
    )

    def ask(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    try:
        _wait_until_there(ask)
        yield ask
    finally:
        process.terminate()
        process.wait(20)


def _wait_until_there(ask: Get) -> None:
    deadline = time.monotonic() + 40
    while True:
        try:
            ask("/")
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_the_form_has_the_plans_options(get: Get) -> None:
    page = get("/")
    assert '"arrivals": {' in page and '"speculation": {' in page
    assert '"records": {' not in page, "that one is for processes"


def test_objectives_are_a_tab_with_columns_of_their_own(get: Get) -> None:
    assert '"title": "Objectives"' in get("/") and "TPOT p99 ms" in get("/")
    assert json.loads(get("/stats/requests"))["extended_stats"] == [{"key": "objectives", "data": []}]


def test_before_the_first_request_the_report_says_so_and_comes_again(get: Get) -> None:
    assert "No request has ended" in get("/report") and 'http-equiv="refresh"' in get("/report")
