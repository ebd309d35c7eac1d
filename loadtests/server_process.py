"""A server for a demo or a benchmark: started with `cospec-server serve` on free ports, and ended with it."""

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


class ServerFailed(RuntimeError):
    """The server did not start; the message is its own."""


@contextlib.contextmanager
def running_server(settings: Path | None = None) -> Iterator[str]:
    """The gRPC address of a ready server. Raises `ServerFailed`."""
    http, grpc, metrics = _free_ports(3)
    command = [str(Path(sys.executable).parent / "cospec-server"), "serve", "--host", "127.0.0.1"]
    command += ["--http-port", str(http), "--grpc-port", str(grpc), "--metrics-port", str(metrics)]
    if settings is not None:
        command += ["--settings", str(settings)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stderr is not None
        if not process.stdout.readline():
            raise ServerFailed(process.stderr.read().strip())
        yield f"localhost:{grpc}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in sockets]
