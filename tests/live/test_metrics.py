"""The metrics endpoint of a running server, and the README's table of it."""

import re
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from cospec.config import DEFAULT_REPOSITORY
from cospec.metrics.catalogue import CATALOGUE, PREFIX
from cospec.serve import TritonServer
from cospec_client import Client

Post = Callable[..., tuple[int, Any]]
README = DEFAULT_REPOSITORY.parent / "README.md"
FRESH = 2.5  # seconds in which all that happened is published
ROW = re.compile(rf"^\| `({PREFIX}\w+)` \| (\w+) \| (.*?) \| (.+) \|$", re.MULTILINE)
SERIES = re.compile(rf"^({PREFIX}\w+)(?:{{(.*)}})? (\S+)$", re.MULTILINE)


def scrape(server: TritonServer) -> str:
    with urllib.request.urlopen(f"http://{server.metrics_url}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def value(text: str, series: str) -> float:
    """Of a series as it is written in the text, labels and all."""
    return float(next(line for line in text.splitlines() if line.startswith(f"{series} ")).rsplit(" ", 1)[1])


def growth(before: str, after: str, series: str) -> float:
    return value(after, series) - value(before, series)


def settled(server: TritonServer) -> str:
    time.sleep(FRESH)
    return scrape(server)


def test_the_readmes_table_is_what_the_server_publishes(server: TritonServer) -> None:
    text = scrape(server)
    documented = {
        name: (kind, tuple(re.findall(r"`(\w+)`", labels)), what)
        for name, kind, labels, what in ROW.findall(README.read_text(encoding="utf-8"))
    }
    kinds = dict(re.findall(rf"^# TYPE ({PREFIX}\w+) (\w+)$", text, re.MULTILINE))
    helps = dict(re.findall(rf"^# HELP ({PREFIX}\w+) (.*)$", text, re.MULTILINE))
    assert {name: kind for name, (kind, _, _) in documented.items()} == kinds
    assert {name: what for name, (_, _, what) in documented.items()} == helps
    assert labels_of(text) == {name: set(labels) for name, (_, labels, _) in documented.items()}
    assert set(kinds) == {metric.full_name for metric in CATALOGUE}


def labels_of(text: str) -> dict[str, set[str]]:
    """Metric -> its labels, but a histogram's own `le`."""
    found: dict[str, set[str]] = {}
    histograms = {metric.full_name for metric in CATALOGUE if metric.buckets}
    for name, labels, _ in SERIES.findall(text):
        base = re.sub("_(bucket|sum|count)$", "", name)
        found.setdefault(base if base in histograms else name, set()).update(re.findall(r'(\w+)="', labels))
    return {name: labels - {"le"} if name in histograms else labels for name, labels in found.items()}


def test_requests_tokens_and_drafts_are_counted(server: TritonServer, client: Client) -> None:
    before = settled(server)
    prompt = "What are the symptoms of Asthma ?"
    generations = [
        client.generate(prompt, max_tokens=24, temperature=0, ignore_eos=True, speculation="fixed:medicine:4")
        for _ in range(3)
    ]
    after = settled(server)
    metrics = [generation.perf_metrics for generation in generations]

    def grown(series: str) -> float:
        return growth(before, after, f"{PREFIX}{series}")

    assert grown('request_success_total{finished_reason="length"}') == grown("request_admitted_total") == 3
    assert grown("generation_tokens_total") == 72
    assert grown("spec_decode_num_draft_tokens_total") == sum(item.num_draft_tokens for item in metrics) > 0
    assert grown("spec_decode_num_accepted_tokens_total") == sum(item.num_accepted_tokens for item in metrics) > 0
    assert grown('drafter_tokens_total{drafter="medicine"}') == grown("spec_decode_num_draft_tokens_total")
    assert grown('drafter_calls_total{drafter="medicine"}') >= grown("spec_decode_num_drafts_total") > 0
    for name in ("time_to_first_token", "e2e_request_latency", "request_time_per_output_token", "request_queue_time"):
        assert grown(f"{name}_seconds_count") == 3
    assert 0 < grown("time_to_first_token_seconds_sum") < grown("e2e_request_latency_seconds_sum")
    assert grown('verify_batches_total{sequences="1"}') >= sum(item.rounds for item in metrics)
    assert grown("verify_tokens_total") > grown("generation_tokens_total")


def test_caches_are_full_while_requests_run_and_empty_after(server: TritonServer, client: Client) -> None:
    gauges = [f"{PREFIX}num_requests_running"]
    gauges += [f'{PREFIX}{name}{{model="verifier"}}' for name in ("kv_slots_used", "kv_tokens_used")]
    streams = [client.stream("def fib(n):", max_tokens=900, seed=seed, ignore_eos=True) for seed in range(4)]
    for stream in streams:
        next(stream)
    during = wait_until(server, lambda text: value(text, gauges[0]) == value(text, gauges[1]) == 4)
    for stream in streams:
        stream.close()
    assert value(during, gauges[2]) > 20
    wait_until(server, lambda text: not any(value(text, gauge) for gauge in gauges))


def wait_until(server: TritonServer, holds: Callable[[str], bool]) -> str:
    deadline = time.monotonic() + 10
    while not holds(text := scrape(server)):
        assert time.monotonic() < deadline, "the metrics never said so"
        time.sleep(0.1)
    return text


def test_refused_requests_are_counted_by_reason(server: TritonServer, post: Post) -> None:
    series = f'{PREFIX}request_rejected_total{{reason="invalid"}}'
    before = settled(server)
    assert post("/v2/models/orchestrator/generate", {"text_input": "", "max_tokens": 3})[0] == 400
    assert growth(before, settled(server), series) == 1
