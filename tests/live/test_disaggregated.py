"""Drafters on other machines: a server of drafters alone, one behind a bad network, and the server that asks them."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import trustme
from conftest import begun, server_options
from cospec.config import RemoteDrafterSettings, TlsSettings
from cospec.serve import TritonServer, free_ports
from cospec.server_tls import ServerTls
from cospec.signatures import DRAFTER
from cospec.speculation.sequence import CalleeError
from cospec.speculation.types import DraftRow, SamplingParameters, Status
from cospec.triton_io.remote import RemoteDrafter
from cospec.triton_io.replica import Replica
from cospec_client import Chunk, Client, Generation, record
from span_collector import Collector
from tcp_proxy import TcpProxy

from loadtests.settings_file import write_changed

PROMPT = "What are the treatments for Anemia ?"
DEADLINE = 0.5
MODEL = "drafter_medicine"


@pytest.fixture(scope="module")
def node(exact_settings: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that serves one drafter, and the address of it."""
    http, grpc, metrics = map(str, free_ports(3))
    command = [sys.executable, "-m", "cospec.cli", "serve", "--host", "127.0.0.1", "--models", MODEL]
    command += [
        "--settings",
        str(exact_settings),
        "--http-port",
        http,
        "--grpc-port",
        grpc,
        "--metrics-port",
        metrics,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and "ready" in process.stdout.readline()
        yield process, f"127.0.0.1:{grpc}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


@pytest.fixture(scope="module")
def network(server: TritonServer) -> Iterator[TcpProxy]:
    """To the second replica, which is the server of all other tests."""
    with TcpProxy(server.grpc_url.replace("localhost", "127.0.0.1")) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture(scope="module")
def remote(
    node: tuple[Any, str],
    network: TcpProxy,
    collector: Collector,
    exact_settings: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Client]:
    """Of a server of verifier and orchestrator, whose one drafter is elsewhere, twice."""
    changes = {
        "drafters": ["medicine"],
        "tracing": {"endpoint": collector.endpoint},
        "remote_drafters": {"medicine": {"urls": [node[1], network.url], "deadline_seconds": DEADLINE}},
    }
    settings = write_changed(changes, tmp_path_factory.mktemp("remote") / "cospec.yaml", exact_settings)
    with TritonServer(server_options(settings)) as running, Client(running.grpc_url, timeout=60) as connected:
        yield connected


def stream(client: Client, speculation: str = "fixed:medicine:4", temperature: float = 0) -> Iterator[Chunk]:
    return client.stream(
        PROMPT, max_tokens=120, temperature=temperature, seed=1, ignore_eos=True, speculation=speculation
    )


def answer(client: Client, **options: Any) -> Generation:
    return record(stream(client, **options))


def answers_during(client: Client, fault: Callable[[], Any], count: int = 4) -> tuple[list[Generation], float]:
    """Of as many requests at once, with a fault in their midst; and the seconds that they took."""
    started = time.monotonic()
    streams = begun(stream(client) for _ in range(count))
    fault()
    return [record(rest) for rest in streams], time.monotonic() - started


@pytest.mark.parametrize(("speculation", "temperature"), [("auto", 0), ("fixed:medicine:4", 1.0), ("lockstep:3", 0)])
def test_texts_are_those_of_the_verifier_alone(
    client: Client, remote: Client, speculation: str, temperature: float
) -> None:
    expected = answer(client, speculation="off", temperature=temperature)
    far = answer(remote, speculation=speculation, temperature=temperature)
    assert far.text == expected.text
    if speculation != "auto":
        assert far.perf_metrics.num_accepted_tokens > 0
        assert 0 < far.perf_metrics.round_trip_ms["medicine"] < 1e3 * DEADLINE


def test_a_request_is_part_of_its_callers_trace(remote: Client, collector: Collector) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    remote.generate(PROMPT, max_tokens=8, speculation="fixed:medicine:4", traceparent=f"00-{trace}-b7ad6b7169203331-01")
    spans = collector.wait_for(trace, "generate")
    assert {"generate", "round", "route", "draft", "fuse", "verify"} <= {span.name for span in spans}


def test_a_network_that_loses_everything_costs_a_deadline_but_no_request(remote: Client, network: TcpProxy) -> None:
    expected = answer(remote, speculation="off").text
    _, usual = answers_during(remote, lambda: None)

    def cut() -> None:
        network.cut = True

    answers, took = answers_during(remote, cut)
    network.cut = False
    assert {generation.text for generation in answers} == {expected}
    assert took < usual + 2 * DEADLINE + 2.0
    assert answer(remote).perf_metrics.num_accepted_tokens > 0


def test_a_node_that_is_killed_costs_no_request_and_no_text(
    remote: Client, network: TcpProxy, node: tuple[subprocess.Popen[str], str]
) -> None:
    expected = answer(remote, speculation="off").text
    [triton] = [child for child in psutil.Process(node[0].pid).children() if "tritonserver" in child.name()]
    answers, _ = answers_during(remote, triton.kill)
    assert {generation.text for generation in answers} == {expected}
    assert node[0].wait(20) != 0, "the command says that its server has ended"
    after = answer(remote)
    assert after.text == expected and after.perf_metrics.num_accepted_tokens > 0, "the other replica drafts"
    network.delay = 0.03
    slow = answer(remote)
    assert slow.text == expected and slow.perf_metrics.round_trip_ms["medicine"] > 50
    network.delay = 0.0


def test_certificates_are_shown_and_demanded(exact_settings: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    server, orchestrator = authority.issue_cert("localhost", "127.0.0.1"), authority.issue_cert("orchestrator")
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    for name, issued in (("server", server), ("orchestrator", orchestrator)):
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
    tls = ServerTls(tmp_path / "server.pem", tmp_path / "server.key", tmp_path / "authority.pem")
    known = TlsSettings(*(str(tmp_path / name) for name in ("authority.pem", "orchestrator.pem", "orchestrator.key")))
    with TritonServer(server_options(exact_settings, models=(MODEL,), tls=tls)) as running:
        assert asyncio.run(status(running.grpc_url, known)) is Status.OK
        for stranger in (None, TlsSettings(str(tmp_path / "authority.pem"))):
            with pytest.raises(CalleeError):
                asyncio.run(status(running.grpc_url, stranger))


async def status(url: str, tls: TlsSettings | None) -> Status:
    """Of one row's draft."""
    remote = RemoteDrafterSettings((url,), tls, deadline_seconds=5.0)
    drafter = RemoteDrafter("medicine", [Replica(url, MODEL, DRAFTER, remote, print)], 4096)
    try:
        row = DraftRow(1, 0, np.asarray([5, 6, 7], dtype=np.int32), 3, SamplingParameters())
        [result] = await drafter.draft([row])
        return result.status
    finally:
        await drafter.close()
