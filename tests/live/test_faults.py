"""Models that die in mid-request: no request is lost, no text changes, and they serve again."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from conftest import process_of
from cospec.serve import TritonServer
from cospec_client import Client, Generation

PROMPT = "What are the treatments for Anemia ?"
WITH_DRAFTER = "fixed:medicine:4"


@contextmanager
def requests_in_flight(client: Client, speculation: str, count: int = 4) -> Iterator[list["Future[Generation]"]]:
    with ThreadPoolExecutor(count) as pool:
        jobs = [pool.submit(answer, client, speculation) for _ in range(count)]
        time.sleep(0.4)
        yield jobs


def answer(client: Client, speculation: str = WITH_DRAFTER) -> Generation:
    return client.generate(PROMPT, max_tokens=300, temperature=0, ignore_eos=True, speculation=speculation)


def wait_until_drafted(client: Client) -> None:
    deadline = time.monotonic() + 60
    while not answer(client).perf_metrics.num_draft_tokens:
        assert time.monotonic() < deadline, "the drafter has not come back"
        time.sleep(0.5)


def test_a_drafter_that_dies_costs_no_answer_and_comes_back(client: Client, server: TritonServer) -> None:
    expected = answer(client).text
    with requests_in_flight(client, WITH_DRAFTER) as jobs:
        process_of("drafter_medicine", server).kill()
        answers = [job.result(60) for job in jobs]
    assert {generation.text for generation in answers} == {expected}
    assert any(generation.perf_metrics.missing_drafters.get("medicine") for generation in answers)
    wait_until_drafted(client)


def test_a_verifier_that_dies_is_loaded_again_and_its_requests_go_on(client: Client, server: TritonServer) -> None:
    expected = answer(client).text
    with requests_in_flight(client, WITH_DRAFTER) as jobs:
        process_of("verifier", server).kill()
        assert {job.result(60).text for job in jobs} == {expected}
