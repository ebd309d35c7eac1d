"""docker-compose.yml as a running project: what a person would type, and what Docker knows of it."""

import functools
import json
import os
import shlex
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
NAME = "cospec-acceptance"
DOCKER = os.environ.get("DOCKER", "docker")
COMPOSE = shlex.split(os.environ.get("COMPOSE", f"{DOCKER} compose"))
LABEL = f"label=com.docker.compose.project={NAME}"
HTTP, GRPC = "127.0.0.1:8000", "127.0.0.1:8001"
PROMETHEUS, GRAFANA = "127.0.0.1:9090", "127.0.0.1:3000"
PROFILES = ("--profile", "loadtest", "--profile", "disaggregated")
LOAD = {"LOADTEST_RATE": "2", "LOADTEST_SECONDS": "20"}
BUILD_SECONDS, COMMAND_SECONDS = 1800, 300
WHEELS_PORT = 8377  # always the same: an image is built anew where an argument is another


def docker(*arguments: str, timeout: float = COMMAND_SECONDS) -> str:
    return _run([DOCKER, *arguments], timeout)


def compose(*arguments: str) -> str:
    return _run([*COMPOSE, "-p", NAME, *arguments], COMMAND_SECONDS)


def build(target: str, tag: str) -> None:
    """`WHEELS`: a folder of wheels that pip shall look into first, for machines without a registry that has them."""
    with served(os.environ.get("WHEELS") or None) as address:
        wheels = ["--build-arg", f"PIP_FIND_LINKS={address}"] if address else []
        command = ["build", "--quiet", "--network=host", *wheels, "-f", "deploy/Dockerfile", "--target", target]
        docker(*command, "-t", tag, ".", timeout=BUILD_SECONDS)


def has_image(name: str) -> bool:
    return subprocess.run([DOCKER, "image", "inspect", name], capture_output=True).returncode == 0


def container(service: str) -> str:
    """Its id."""
    return docker("ps", "-aq", "--filter", LABEL, "--filter", f"label=com.docker.compose.service={service}").strip()


def inspect(service: str) -> dict[str, Any]:
    [found] = json.loads(docker("inspect", container(service)))
    return dict(found)


def inside(service: str, *command: str) -> str:
    return docker("exec", container(service), *command)


def logs(service: str) -> str:
    command = [DOCKER, "logs", container(service)]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60).stdout


def left() -> list[str]:
    """Containers, networks and volumes of the project."""
    kinds = (["ps", "-aq"], ["network", "ls", "-q"], ["volume", "ls", "-q"])
    return [line for kind in kinds for line in docker(*kind, "--filter", LABEL).split()]


def get(url: str, body: dict[str, Any] | None = None) -> Any:
    data = json.dumps(body).encode() if body is not None else None
    with urllib.request.urlopen(urllib.request.Request(f"http://{url}", data=data), timeout=30) as answer:
        return json.load(answer)


def generate(**inputs: Any) -> str:
    return str(get(f"{HTTP}/v2/models/orchestrator/generate", inputs)["text_output"])


def query(expression: str) -> list[dict[str, Any]]:
    """Of Prometheus, now."""
    answer = get(f"{PROMETHEUS}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
    return list(answer["data"]["result"])


def eventually(what: Callable[[], Any], seconds: float) -> Any:
    """The first answer that is true; what it last raised, or a timeout, after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if answer := what():
                return answer
        except (urllib.error.URLError, OSError, KeyError) as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"still failing after {seconds:.0f} s: {error}") from error
        if time.monotonic() > deadline:
            raise TimeoutError(f"still not so after {seconds:.0f} s")
        time.sleep(0.2)


@contextmanager
def served(folder: str | None) -> Iterator[str | None]:
    """A folder over HTTP on this machine; nothing where there is none."""
    if folder is None:
        yield None
        return
    server = ThreadingHTTPServer(("127.0.0.1", WHEELS_PORT), functools.partial(_Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{WHEELS_PORT}/"
    finally:
        server.shutdown()
        server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def _run(command: list[str], timeout: float) -> str:
    result = subprocess.run(command, cwd=ROOT, env=os.environ | LOAD, capture_output=True, text=True, timeout=timeout)
    assert result.returncode == 0, f"{shlex.join(command)}:\n{result.stdout[-2000:]}{result.stderr[-4000:]}"
    return result.stdout
