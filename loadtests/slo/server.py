"""The server that is measured: a given one, or one of our own; and what is known of it."""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests.bad_input import BadInput
from loadtests.environment import DEFAULT_SETTINGS
from loadtests.pairs import num_parameters
from loadtests.server_process import Addresses, own_server

BUNDLE = "bundle"


@dataclass(frozen=True)
class ServerChoice:
    """`url`: gRPC address of a running server, whose other ports are beside it unless they are named."""

    url: str | None = None
    http_url: str | None = None
    metrics_url: str | None = None
    settings: Path | None = None
    verifier_weights: Path | None = None

    @property
    def verifier(self) -> str:
        """What results call it."""
        return self.verifier_weights.resolve().name if self.verifier_weights else BUNDLE if not self.url else "unnamed"


@contextlib.contextmanager
def measured_server(choice: ServerChoice) -> Iterator[Addresses]:
    """Raises `BadInput` for addresses and files that cannot be, `ServerFailed` if a server does not start."""
    if choice.url is not None:
        yield _given(choice, choice.url)
        return
    with own_server(*_arguments(choice)) as addresses:
        yield addresses


def facts_of(choice: ServerChoice, addresses: Addresses) -> dict[str, Any]:
    """For the result: addresses, verifier, settings. A given server's settings are known only if they are named."""
    path = choice.settings or (None if choice.url else DEFAULT_SETTINGS)
    facts: dict[str, Any] = {"server": {"address": addresses.grpc, "own": choice.url is None}}
    facts["verifier"] = choice.verifier
    if choice.verifier_weights is not None:
        facts["verifier_parameters"] = num_parameters(choice.verifier_weights)
    content = path.read_bytes() if path else b""
    facts["settings"] = {"file": path.name, "sha256": hashlib.sha256(content).hexdigest()} if path else None
    return facts


def check_choice(choice: ServerChoice) -> None:
    """Raises `BadInput`."""
    if choice.settings is not None and not choice.settings.is_file():
        raise BadInput(f"--settings {choice.settings}: no such file")
    if choice.verifier_weights is not None and not (choice.verifier_weights / "config.json").is_file():
        raise BadInput(f"--verifier-weights {choice.verifier_weights}: no checkpoint, it has no config.json")
    for name, url in (("url", choice.url), ("http-url", choice.http_url), ("metrics-url", choice.metrics_url)):
        if url is not None and not url.rpartition(":")[2].isdecimal():
            raise BadInput(f"--{name} must be host:port, got {url!r}")


def _given(choice: ServerChoice, url: str) -> Addresses:
    beside = Addresses.beside(url)
    return Addresses(url, choice.http_url or beside.http, choice.metrics_url or beside.metrics)


def _arguments(choice: ServerChoice) -> list[str]:
    settings = ["--settings", str(choice.settings)] if choice.settings else []
    weights = ["--verifier-weights", str(choice.verifier_weights)] if choice.verifier_weights else []
    return settings + weights
