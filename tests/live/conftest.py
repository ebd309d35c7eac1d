"""One real server for the whole tier, on free ports. No server, no pass: nothing here is ever skipped."""

import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from cospec.config import DEFAULT_REPOSITORY
from cospec.serve import ServeOptions, TritonServer, free_ports
from cospec.supervision import model_of
from cospec_client import Client

from loadtests.settings_file import write_changed


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


@pytest.fixture(scope="session")
def exact_settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped settings with the verifier in float32, where identity holds without exception on any processor."""
    precise = {"engine": {"verifier": {"dtype": "float32"}}}
    return write_changed(precise, tmp_path_factory.mktemp("settings") / "cospec.yaml")


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
