"""Two verifiers behind one orchestrator: both serve, and when one is lost its requests go on with the other."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import begun, process_of, server_options
from cospec.serve import TritonServer
from cospec_client import Chunk, Client

from loadtests.settings_file import write_changed
from loadtests.verifier_batches import read_counts

PROMPT = "What are the treatments for Anemia ?"
VERIFIERS = ("verifier", "verifier_2")
MOST_SILENCE = 2.0  # seconds that a request may go without a token when its verifier is lost


@pytest.fixture(scope="module")
def pair(exact_settings: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    changes = {"drafters": ["medicine"], "verifiers": 2}
    settings = write_changed(changes, tmp_path_factory.mktemp("pair") / "cospec.yaml", exact_settings)
    with TritonServer(server_options(settings)) as running:
        yield running


@pytest.fixture(scope="module")
def of_pair(pair: TritonServer) -> Iterator[Client]:
    with Client(pair.grpc_url, timeout=60) as connected:
        yield connected


def stream(client: Client, seed: int, max_tokens: int = 300, speculation: str = "auto") -> Iterator[Chunk]:
    return client.stream(
        PROMPT, max_tokens=max_tokens, temperature=1.0, seed=seed, ignore_eos=True, speculation=speculation
    )


def text_and_silence(pieces: Iterator[Chunk]) -> tuple[str, float]:
    """The text, and the longest time between two of its pieces, in seconds."""
    text, longest, last = "", 0.0, time.monotonic()
    for piece in pieces:
        now = time.monotonic()
        text, longest, last = text + piece.text, max(longest, now - last), now
    return text, longest


def said(client: Client, *options: Any) -> str:
    return text_and_silence(stream(client, *options))[0]


def test_both_verifiers_serve_and_texts_are_those_of_one(client: Client, pair: TritonServer, of_pair: Client) -> None:
    before = {model: read_counts(pair.grpc_url, model).executions for model in VERIFIERS}
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda seed: said(of_pair, seed, 60), range(8)))
    assert texts == [said(client, seed, 60, "off") for seed in range(8)]
    assert all(read_counts(pair.grpc_url, model).executions > before[model] for model in VERIFIERS)


def test_the_requests_of_a_lost_verifier_are_resumed_at_once_and_say_the_same(
    pair: TritonServer, of_pair: Client
) -> None:
    lost = VERIFIERS[0]
    with ThreadPoolExecutor(6) as pool:
        expected = list(pool.map(lambda seed: said(of_pair, seed), range(6)))
        jobs = [pool.submit(text_and_silence, pieces) for pieces in begun(stream(of_pair, seed) for seed in range(6))]
        process = process_of(lost, pair)
        assert not any(job.done() for job in jobs)
        process.kill()
        answers = [job.result(60) for job in jobs]
    assert [text for text, _ in answers] == expected
    assert max(silence for _, silence in answers) < MOST_SILENCE
    wait_until_used(pair, of_pair, lost)


def wait_until_used(server: TritonServer, client: Client, model: str) -> None:
    """The lost one is loaded again, and gets requests."""
    deadline, before = time.monotonic() + 60, read_counts(server.grpc_url, model).executions
    while read_counts(server.grpc_url, model).executions <= before:
        assert time.monotonic() < deadline, f"{model} has not come back"
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda seed: said(client, seed, 20), range(4)))
        time.sleep(0.3)
