"""One real server for the whole tier, on free ports. No server, no pass: nothing here is ever skipped."""

import json
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest
from cospec.config import DEFAULT_REPOSITORY, DEFAULT_SETTINGS, load_settings
from cospec.engine.artefacts import all_compiled
from cospec.processes import compiling, kill_group
from cospec.serve import ServeOptions, TritonServer, free_ports
from cospec.supervision import model_of
from cospec_client import Chunk, Client

from loadtests.settings_file import write_changed

EXACT = {"engine": {"verifier": {"dtype": "float32"}}}  # where identity holds without exception on any processor


class Compilation(threading.Thread):
    """What the servers of this tier load, compiled on a new machine beside the tests that come before them."""

    def __init__(self) -> None:
        super().__init__()
        self.scratch = TemporaryDirectory()
        self.exact = write_changed(EXACT, Path(self.scratch.name) / "cospec.yaml")
        wanted = self.exact, DEFAULT_SETTINGS
        self.waiting = [path for path in wanted if not all_compiled(load_settings(path), DEFAULT_REPOSITORY)]
        self.process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        while self.waiting:
            quiet = subprocess.DEVNULL  # should it fail, the server tries again, and says why
            self.process = compiling(self.waiting.pop(0), DEFAULT_REPOSITORY, Path(self.scratch.name), quiet)
            self.process.wait()

    def end(self) -> None:
        self.waiting.clear()
        if self.process:
            kill_group(self.process)
        self.join()
        self.scratch.cleanup()


COMPILATION = pytest.StashKey[Compilation]()


def pytest_collection_finish(session: pytest.Session) -> None:
    if not session.config.option.collectonly:
        session.stash[COMPILATION] = Compilation()
        session.stash[COMPILATION].start()


def pytest_sessionfinish(session: pytest.Session) -> None:
    if COMPILATION in session.stash:
        session.stash[COMPILATION].end()


def server_options(settings: Path, **others: Any) -> ServeOptions:
    return ServeOptions(settings, DEFAULT_REPOSITORY, *free_ports(3), host="127.0.0.1", **others)


def process_of(model: str, server: TritonServer) -> psutil.Process:
    """The living process of a model."""
    [process] = [
        process
        for process in psutil.process_iter(["cmdline"])
        if "stub" in "".join(process.info["cmdline"] or [])[:200] and model_of(process.info["cmdline"]) == model
        if server.grpc_url.rsplit(":", 1)[1] in "".join(process.parent().cmdline())
    ]
    return process


def begun(streams: Iterable[Iterator[Chunk]]) -> list[Iterator[Chunk]]:
    """Each has given its first piece: what befalls the server now befalls all of them midway, on any machine."""
    return [chain([next(stream)], stream) for stream in streams]


@pytest.fixture(scope="session")
def exact_settings(request: pytest.FixtureRequest) -> Path:
    """The shipped settings with the verifier in float32, once its models are compiled."""
    compilation = request.session.stash[COMPILATION]
    compilation.join()
    return compilation.exact


@pytest.fixture(scope="session")
def server(exact_settings: Path) -> Iterator[TritonServer]:
    with TritonServer(server_options(exact_settings)) as running:
        yield running


@pytest.fixture(scope="session")
def client(server: TritonServer) -> Iterator[Client]:
    with Client(server.grpc_url, timeout=60) as connected:
        yield connected


@pytest.fixture(scope="session")
def post(server: TritonServer) -> Callable[..., tuple[int, Any]]:
    """POST JSON to a path of the HTTP endpoint: status, and the parsed answer or the raw bytes of a stream."""

    def send(path: str, body: object) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = server.admin_headers if path.startswith("/v2/repository/") else {}
        request = urllib.request.Request(f"http://{server.http_url}{path}", data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, _parse(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, _parse(error.read())

    return send


def _parse(content: bytes) -> Any:
    try:
        return json.loads(content) if content else None
    except ValueError:
        return content
