"""Models that die in mid-request: no request is lost, no text changes, and they serve again."""

import time
from collections.abc import Iterator

from conftest import begun, process_of
from cospec.serve import TritonServer
from cospec_client import Chunk, Client, Generation, record

PROMPT = "What are the treatments for Anemia ?"


def stream(client: Client) -> Iterator[Chunk]:
    return client.stream(PROMPT, max_tokens=300, temperature=0, ignore_eos=True, speculation="fixed:medicine:4")


def answer(client: Client) -> Generation:
    return record(stream(client))


def wait_until_drafted(client: Client) -> None:
    deadline = time.monotonic() + 60
    while not answer(client).perf_metrics.num_draft_tokens:
        assert time.monotonic() < deadline, "the drafter has not come back"
        time.sleep(0.5)


def test_a_drafter_that_dies_costs_no_answer_and_comes_back(client: Client, server: TritonServer) -> None:
    expected = answer(client).text
    streams = begun(stream(client) for _ in range(4))
    process_of("drafter_medicine", server).kill()
    answers = [record(rest) for rest in streams]
    assert {generation.text for generation in answers} == {expected}
    assert any(generation.perf_metrics.missing_drafters.get("medicine") for generation in answers)
    wait_until_drafted(client)


def test_a_verifier_that_dies_is_loaded_again_and_its_requests_go_on(client: Client, server: TritonServer) -> None:
    expected = answer(client).text
    streams = begun(stream(client) for _ in range(4))
    process_of("verifier", server).kill()
    assert {record(rest).text for rest in streams} == {expected}
