"""A server for a demo or a benchmark: started with `cospec-server serve` on free ports, and ended with it."""

import contextlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

COSPEC_SERVER = str(Path(sys.executable).parent / "cospec-server")
START_TIMEOUT = 240.0  # seconds; the server's own limit is shorter and its message better
STOP_TIMEOUT = 30.0


class ServerFailed(RuntimeError):
    """The server did not start; the message is its own."""


@dataclass(frozen=True)
class Addresses:
    """Of one server, each host:port."""

    grpc: str
    http: str
    metrics: str

    @staticmethod
    def beside(grpc: str) -> "Addresses":
        """Of a server whose ports are one after another, as Triton's are: 8000 HTTP, 8001 gRPC, 8002 metrics."""
        host, _, port = grpc.rpartition(":")
        return Addresses(grpc, f"{host}:{int(port) - 1}", f"{host}:{int(port) + 1}")


@contextlib.contextmanager
def server_at(url: str | None, *arguments: str) -> Iterator[str]:
    """The gRPC address: `url` if there is one, else that of a server of our own."""
    if url is not None:
        yield url
        return
    with own_server(*arguments) as addresses:
        yield addresses.grpc


@contextlib.contextmanager
def own_server(*arguments: str) -> Iterator[Addresses]:
    """A ready server whose models are compiled, stopped at the end. Raises `ServerFailed`."""
    subprocess.run([COSPEC_SERVER, "compile", *arguments], check=False)  # where its progress is seen
    with running_addresses(*arguments) as addresses:
        yield addresses


@contextlib.contextmanager
def running_server(*arguments: str) -> Iterator[str]:
    """The gRPC address of a ready server, stopped at the end; `arguments` go to it. Raises `ServerFailed`."""
    with running_addresses(*arguments) as addresses:
        yield addresses.grpc


@contextlib.contextmanager
def running_addresses(
    *arguments: str, command: Sequence[str] = (COSPEC_SERVER, "serve"), start_timeout: float = START_TIMEOUT
) -> Iterator[Addresses]:
    """A ready server, stopped at the end, SIGTERM's too; `arguments` go to it. Raises `ServerFailed`."""
    _end_in_order()
    http, grpc, metrics = free_ports(3)
    ports = ["--http-port", str(http), "--grpc-port", str(grpc), "--metrics-port", str(metrics)]
    # Files, not pipes: a pipe that nobody reads fills up, and then the server stands still.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen([*command, "--host", "127.0.0.1", *ports, *arguments], stdout=output, stderr=errors)
        try:
            _wait_until_ready(process, output, errors, start_timeout)
            yield Addresses(*(f"localhost:{port}" for port in (grpc, http, metrics)))
        finally:
            _stop(process)


def _end_in_order() -> None:
    """On SIGTERM: else the server would outlive us."""
    ours = threading.current_thread() is threading.main_thread()
    if ours and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def _wait_until_ready(process: "subprocess.Popen[bytes]", output: IO[bytes], errors: IO[bytes], limit: float) -> None:
    """Until the server prints the line that says so."""
    deadline = time.monotonic() + limit
    while b"\n" not in _written(output):
        if process.poll() is not None:
            sentence = _written(errors).decode(errors="replace").strip()
            raise ServerFailed(sentence or f"the server ended with exit code {process.returncode}")
        if time.monotonic() > deadline:
            raise ServerFailed(f"the server was not ready after {limit:g} s")
        time.sleep(0.05)


def _written(file: IO[bytes]) -> bytes:
    """What the server wrote so far. Position and file are shared with it: moving the one would move its writing."""
    return Path(f"/proc/self/fd/{file.fileno()}").read_bytes()


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in sockets]
