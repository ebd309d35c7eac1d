"""One project for the whole run: built, up, and gone at the end."""

import time
from collections.abc import Iterator

import pytest

from deploy.acceptance.project import PROFILES, build, compose, eventually, generate, has_image, left

GRAFANA_IMAGE = "grafana/grafana:11.6.0"


@pytest.fixture(scope="session")
def images() -> None:
    build("server", "cospec:cpu")
    build("loadtest", "cospec:loadtest")


@pytest.fixture(scope="session")
def seconds_to_first_text(images: None) -> Iterator[float]:
    """From `up` to the first generated text."""
    compose("down", "--volumes", "--remove-orphans")
    assert left() == []
    services = ["server", "prometheus", *(["grafana"] if has_image(GRAFANA_IMAGE) else [])]
    started = time.monotonic()
    try:
        compose("up", "-d", *services)
        eventually(lambda: generate(text_input="def fib(n):", max_tokens=1), 120)
        yield time.monotonic() - started
    finally:
        compose(*PROFILES, "down", "--volumes", "--remove-orphans")
