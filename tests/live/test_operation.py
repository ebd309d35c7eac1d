"""Load, cancellation, failures, and what is left when all is over."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import begun
from cospec.config import DEFAULT_REPOSITORY, load_settings
from cospec.engine.profiles import profile_store
from cospec.serve import TritonServer, free_ports
from cospec_client import Chunk, Client, CospecError, record
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

PROMPT = "What are the treatments for Anemia ?"
Post = Callable[..., tuple[int, Any]]


def statistics(server: TritonServer, model: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://{server.http_url}/v2/models/{model}/stats", timeout=10) as answer:
        [stats] = json.load(answer)["model_stats"]
    return dict(stats)


def test_models_are_loaded_and_unloaded_by_the_server_alone(server: TritonServer) -> None:
    """Whoever may load a model may bring its code along."""
    for path in ("repository/models/verifier/unload", "repository/index", "trace/setting", "logging"):
        request = urllib.request.Request(f"http://{server.http_url}/v2/{path}", data=b"{}")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        assert refused.value.code == 403, path
    grpc = InferenceServerClient(server.grpc_url)
    with pytest.raises(InferenceServerException, match="restricted"):
        grpc.unload_model("verifier")
    grpc.close()


def batches(server: TritonServer) -> dict[int, int]:
    """Batch size -> executions of the verifier so far."""
    rows = statistics(server, "verifier")["batch_stats"]
    return {row["batch_size"]: row["compute_infer"]["count"] for row in rows}


def test_sixty_four_streams_reach_verifier_batches_above_sixteen(server: TritonServer, client: Client) -> None:
    before = batches(server)
    with ThreadPoolExecutor(64) as pool:
        jobs = [pool.submit(client.generate, PROMPT, max_tokens=24, seed=n, ignore_eos=True) for n in range(64)]
        tokens = [job.result().num_output_tokens for job in jobs]
    assert tokens == [24] * 64
    grown = {size: count - before.get(size, 0) for size, count in batches(server).items()}
    assert max(size for size, count in grown.items() if count) > 16


def test_a_closed_stream_frees_its_sessions_and_the_server_serves_on(server: TritonServer, client: Client) -> None:
    for _ in range(5):
        stream = client.stream(PROMPT, max_tokens=900, temperature=1.0, seed=1, ignore_eos=True)
        next(stream)
        stream.close()
    time.sleep(0.5)
    before = statistics(server, "verifier")["execution_count"]
    time.sleep(1.0)
    assert statistics(server, "verifier")["execution_count"] == before, "the verifier still works for nobody"
    assert client.generate(PROMPT, max_tokens=4, ignore_eos=True).num_output_tokens == 4


def test_what_serving_teaches_of_costs_is_there_to_plan_with(exact_settings: Path, client: Client) -> None:
    store = profile_store(load_settings(exact_settings), DEFAULT_REPOSITORY)
    before, deadline = store.load_learnt(), time.monotonic() + 30
    while (learnt := store.load_learnt()) == before:
        assert time.monotonic() < deadline
        client.generate(PROMPT, max_tokens=64, ignore_eos=True)
    assert learnt is not None and learnt["verify"]


def test_more_requests_than_slots_all_finish(client: Client) -> None:
    with ThreadPoolExecutor(96) as pool:
        jobs = [pool.submit(client.generate, PROMPT, max_tokens=6, seed=n, ignore_eos=True) for n in range(96)]
        assert [job.result().num_output_tokens for job in jobs] == [6] * 96


def test_a_verifier_reloaded_under_load_costs_no_answer(server: TritonServer, client: Client, post: Post) -> None:
    """Its KV cache is gone; requests resend their tokens and end with the same text."""
    expected = client.generate(PROMPT, max_tokens=150, temperature=0, ignore_eos=True).text
    streams = begun(client.stream(PROMPT, max_tokens=150, temperature=0, ignore_eos=True) for _ in range(4))
    assert post("/v2/repository/models/verifier/unload", {})[0] == 200
    deadline = time.monotonic() + 30
    while post("/v2/repository/models/verifier/load", {})[0] != 200 and time.monotonic() < deadline:
        time.sleep(0.2)
    answers = [_text_or_error(rest) for rest in streams]
    assert all(answer == expected or "verifier" in answer for answer in answers), answers
    assert client.generate(PROMPT, max_tokens=150, temperature=0, ignore_eos=True).text == expected


def _text_or_error(stream: Iterator[Chunk]) -> str:
    try:
        return record(stream).text
    except CospecError as error:
        return str(error)


def test_a_reloaded_drafter_changes_no_text(client: Client, post: Post) -> None:
    expected = client.generate(PROMPT, max_tokens=60, temperature=0, speculation="fixed:medicine:4").text
    post("/v2/repository/models/drafter_medicine/unload", {})
    time.sleep(0.5)
    without = client.generate(PROMPT, max_tokens=60, temperature=0, speculation="fixed:medicine:4")
    assert without.text == expected
    assert post("/v2/repository/models/drafter_medicine/load", {})[0] == 200
    time.sleep(1.5)  # a drafter that failed rests for a second
    again = client.generate(PROMPT, max_tokens=60, temperature=0, speculation="fixed:medicine:4")
    assert again.text == expected and again.perf_metrics.num_draft_tokens > 0


def test_the_command_serves_and_ends_without_cutting_a_stream_or_leaving_anything() -> None:
    http, grpc, metrics = free_ports(3)
    command = [sys.executable, "-m", "cospec.cli", "serve", "--host", "127.0.0.1"]
    command += ["--http-port", str(http), "--grpc-port", str(grpc), "--metrics-port", str(metrics)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert f"http://localhost:{http}" in line and f"localhost:{grpc}" in line and str(metrics) in line
        children = descendants(process.pid)
        assert len(children) >= 8
        prefix = shared_memory_prefix(children)
        assert list(Path("/dev/shm").glob(f"{prefix}*"))
        with Client(f"localhost:{grpc}", timeout=60) as client:
            stream = client.stream(PROMPT, max_tokens=900, temperature=1.0, seed=1, ignore_eos=True)
            chunks = [next(stream)]
            process.send_signal(signal.SIGTERM)
            with pytest.raises(CospecError, match="the server is ending"):
                while process.poll() is None:  # it hears of the signal within a moment
                    client.generate(PROMPT, max_tokens=1)
            chunks += stream
        assert sum(chunk.num_tokens for chunk in chunks) == 900
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    deadline = time.monotonic() + 5  # a killed process takes a moment to go
    while alive := [pid for pid in children if state(pid) != "Z"]:
        assert time.monotonic() < deadline, f"still running: {alive}"
        time.sleep(0.1)
    assert not list(Path("/dev/shm").glob(f"{prefix}*"))


def shared_memory_prefix(pids: list[int]) -> str:
    """What the server was told to call its regions."""
    arguments = [item for pid in pids for item in Path(f"/proc/{pid}/cmdline").read_text().split("\0")]
    option = "--backend-config=python,shm-region-prefix-name="
    [prefix] = {item.removeprefix(option) for item in arguments if item.startswith(option)}
    return prefix


def descendants(pid: int) -> list[int]:
    """Of a process, all living children of children."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, queue = [], [pid]
    while queue:
        queue.extend(new := children.get(queue.pop(), []))
        found.extend(new)
    return found


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"


def test_a_taken_port_is_one_sentence(server: TritonServer) -> None:
    port = server.http_url.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "cospec.cli", "serve", "--http-port", port]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, env=dict(os.environ))
    assert result.returncode == 2
    assert result.stderr.startswith(f"cospec-server: port {port} cannot be used") and result.stderr.count("\n") == 1
