"""Starting and ending a server, with small programs in its place."""

import sys
import time

import pytest

from loadtests.server_process import Addresses, ServerFailed, running_addresses, server_at

READY = "import sys, time; sys.stderr.write('x' * 300_000); print('ready', flush=True); time.sleep(60)"
REFUSES = "import sys; sys.exit('port 8000 is taken')"
SILENT = "import time; time.sleep(60)"


def test_a_server_is_ready_after_its_line_whatever_it_logs_and_ends_with_the_block() -> None:
    started = time.monotonic()
    with running_addresses(command=(sys.executable, "-c", READY)) as addresses:
        assert addresses.grpc.startswith("localhost:")
    assert time.monotonic() - started < 20


def test_a_server_that_ends_gives_its_own_sentence() -> None:
    with (
        pytest.raises(ServerFailed, match="port 8000 is taken"),
        running_addresses(command=(sys.executable, "-c", REFUSES)),
    ):
        pass


def test_a_server_that_says_nothing_is_not_waited_for_for_ever() -> None:
    with (
        pytest.raises(ServerFailed, match=r"not ready after 0\.3 s"),
        running_addresses(command=(sys.executable, "-c", SILENT), start_timeout=0.3),
    ):
        pass


def test_a_given_url_starts_nothing() -> None:
    with server_at("elsewhere:8001") as url:
        assert url == "elsewhere:8001"


def test_a_servers_other_ports_are_beside_its_first() -> None:
    assert Addresses.beside("host:8001") == Addresses("host:8001", "host:8000", "host:8002")
