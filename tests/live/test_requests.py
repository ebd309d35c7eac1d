"""The request surface over gRPC and HTTP, good and bad."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from cospec.config import load_settings
from cospec.serve import TritonServer
from cospec_client import Client, Generation, InvalidRequest
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

GENERATE = "/v2/models/orchestrator/generate"
PROMPT = "def fib(n):"
Post = Callable[..., tuple[int, Any]]


def test_http_generate_returns_what_was_asked_for(post: Post) -> None:
    body = {"text_input": PROMPT, "max_tokens": 24, "temperature": 0, "return_perf_metrics": True}
    status, plain = post(GENERATE, {**body, "speculation": "off"})
    assert status == 200
    _, speculated = post(GENERATE, {**body, "speculation": "tree:6"})
    assert speculated["text_output"] == plain["text_output"]
    assert plain["text_output"].startswith(PROMPT)
    assert json.loads(plain["perf_metrics"])["num_draft_tokens"] == 0
    metrics = json.loads(speculated["perf_metrics"])
    assert metrics["num_draft_tokens"] > 0 and metrics["mean_acceptance_length"] >= 1
    assert "num_output_tokens" not in speculated


@pytest.mark.parametrize("speculation", ["off", "auto", "tree:8", "lockstep:4"])
def test_the_context_can_be_filled_to_its_end(post: Post, speculation: str) -> None:
    body = {"text_input": "def fib(n): " * 150, "temperature": 0, "ignore_eos": True, "exclude_input_in_output": True}
    counted = {"return_num_input_tokens": True, "return_num_output_tokens": True, "speculation": speculation}
    _, one = post(GENERATE, {**body, **counted, "max_tokens": 1})
    room = 1024 - one["num_input_tokens"]
    assert 20 < room < 500
    status, filled = post(GENERATE, {**body, **counted, "max_tokens": room})
    assert status == 200 and filled["num_output_tokens"] == room


def test_http_stream_is_the_same_text_in_events(post: Post) -> None:
    tokens = 6 * (load_settings().speculation.num_draft_tokens + 1)  # which take six rounds at the least
    body = {"text_input": PROMPT, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    body["exclude_input_in_output"] = True
    _, whole = post(GENERATE, body)
    status, events = post(GENERATE + "_stream", {**body, "stream": True})
    pieces = [json.loads(line[6:]) for line in events.decode().splitlines() if line.startswith("data: ")]
    assert status == 200 and len(pieces) > 3
    assert "".join(piece["text_output"] for piece in pieces) == whole["text_output"]


def test_max_tokens_is_exact_and_counts_are_differences(client: Client) -> None:
    for count in (1, 2, 5, 17):
        generation = client.generate(PROMPT, max_tokens=count, min_tokens=count, temperature=0, ignore_eos=True)
        assert (generation.num_output_tokens, generation.finish_reason) == (count, "length")


def test_min_tokens_keeps_the_end_away(client: Client) -> None:
    def sample(seed: int, min_tokens: int) -> Generation:
        return client.generate(PROMPT, temperature=1.0, seed=seed, max_tokens=300, min_tokens=min_tokens)

    free, seed = next((found, seed) for seed in range(20) if (found := sample(seed, 0)).finish_reason == "stop")
    assert free.stop_reason == "</s>"
    assert sample(seed, free.num_output_tokens + 5).num_output_tokens >= free.num_output_tokens + 5


def test_stop_words_end_the_text_before_them_even_across_tokens(client: Client) -> None:
    whole = client.generate(PROMPT, temperature=0, max_tokens=40).text
    for word in (whole[10:13], whole[7:15], whole[20:21]):
        for mode in ("off", "fixed:code:8"):
            chunks = list(client.stream(PROMPT, temperature=0, max_tokens=40, stop_words=["¶", word], speculation=mode))
            assert "".join(chunk.text for chunk in chunks) == whole[: whole.index(word)]
            assert (chunks[-1].finish_reason, chunks[-1].stop_reason) == ("stop", word)


def test_sampling_parameters_may_come_as_json(client: Client) -> None:
    tensors = client.generate(PROMPT, temperature=0.8, seed=5, max_tokens=20, top_k=20, top_p=0.9).text
    values = {"temperature": 0.8, "seed": 5, "max_tokens": 20, "top_k": 20, "top_p": 0.9}
    assert client.generate(PROMPT, sampling_parameters=json.dumps(values)).text == tensors


BAD = [
    ({"text_input": ""}, "text_input is empty"),
    ({"max_tokens": 0}, "max_tokens must be from 1"),
    ({"max_tokens": 5000}, "got 5000"),
    ({"max_tokens": -1}, "got -1"),
    ({"min_tokens": 90, "max_tokens": 8}, "min_tokens"),
    ({"temperature": -1.0}, "temperature"),
    ({"temperature": float("nan")}, "temperature"),
    ({"top_p": 0.0}, "top_p"),
    ({"top_p": 1.5}, "top_p"),
    ({"top_k": -4}, "top_k"),
    ({"speculation": "maybe"}, "speculation must be auto, off, fixed"),
    ({"speculation": "fixed:poetry:4"}, "unknown drafter 'poetry'"),
    ({"sampling_parameters": "{"}, "sampling_parameters is not valid JSON"),
    ({"sampling_parameters": '{"heat": 1}'}, "unknown name 'heat'"),
    ({"text_input": "word " * 3000}, "prompt and output together"),
]


@pytest.mark.parametrize(("fields", "sentence"), BAD)
def test_bad_input_is_refused_over_grpc(client: Client, fields: dict[str, Any], sentence: str) -> None:
    values = dict(fields)
    with pytest.raises(InvalidRequest, match=sentence):
        client.generate(values.pop("text_input", PROMPT), **values)


@pytest.mark.parametrize(("fields", "sentence"), [case for case in BAD if case[0].get("temperature", 0) <= 0])
def test_bad_input_is_http_400(post: Post, fields: dict[str, Any], sentence: str) -> None:
    status, answer = post(GENERATE, {"text_input": PROMPT, **fields})
    assert status == 400
    assert sentence in answer["error"] and "Traceback" not in answer["error"]


@pytest.mark.parametrize(
    "body",
    [b"{", {"text_input": 7}, {"text_input": PROMPT, "max_tokens": "many"}, {"text_input": ["a", "b"]}, {}],
)
def test_malformed_http_requests_are_refused(post: Post, body: object) -> None:
    """What Triton itself cannot parse it answers with 500, what the orchestrator refuses is 400."""
    status, answer = post(GENERATE, body)
    assert status in (400, 500)
    assert answer["error"] and "Traceback" not in answer["error"]


def test_text_that_is_not_utf8_and_a_wrong_dtype_are_refused(server: TritonServer) -> None:
    def refusal(*tensors: InferInput) -> str:
        received: list[Any] = []
        with InferenceServerClient(server.grpc_url) as raw:
            raw.start_stream(lambda result, error: received.append(error))
            raw.async_stream_infer("orchestrator", list(tensors))
            raw.stop_stream()
        [error] = [item for item in received if isinstance(item, InferenceServerException)]
        return str(error)

    bad_text = InferInput("text_input", [1], "BYTES")
    bad_text.set_data_from_numpy(np.asarray([b"ab\xff"], dtype=object))
    assert "text_input is not valid UTF-8 at byte 2" in refusal(bad_text)
    text = InferInput("text_input", [1], "BYTES")
    text.set_data_from_numpy(np.asarray([b"hello"], dtype=object))
    wrong = InferInput("max_tokens", [1], "INT64")
    wrong.set_data_from_numpy(np.asarray([3], dtype=np.int64))
    assert "max_tokens" in refusal(text, wrong)


def test_a_bad_request_beside_good_ones_harms_none(client: Client) -> None:
    def ask(number: int) -> str:
        try:
            return client.generate(PROMPT, temperature=0, max_tokens=12, top_p=0.0 if number % 3 == 0 else 1.0).text
        except InvalidRequest:
            return "refused"

    with ThreadPoolExecutor(9) as pool:
        answers = list(pool.map(ask, range(9)))
    assert answers[0::3] == ["refused"] * 3
    assert len(set(answers[1::3] + answers[2::3])) == 1
