"""The orchestrator between fake Triton tensors and scripted models: every path ends in exactly one FINAL."""

import asyncio
import json
import time
from collections.abc import Sequence as Tokens
from typing import Any

import numpy as np
import pytest
import triton_python_backend_utils as pb_utils
from cospec.config import ServingSettings, Settings, drafter_model
from cospec.speculation.types import DraftResult, DraftRow, VerifyResult, VerifyRow
from cospec.speculation.vocabulary import Vocabulary
from cospec.triton_io import caller
from cospec.triton_io.callee import drafter_callee, verifier_callee
from cospec.triton_io.caller import ASK_EVERY, Pace, Presence
from cospec.triton_io.orchestrator import Orchestrator
from scripted import ScriptedDrafter, ScriptedVerifier


def next_letter(tokens: Tokens[int]) -> int:
    return ord("a") + (tokens[-1] * 7 + len(tokens)) % 26


class Synchronous:
    """A scripted model as an engine: what a callee calls."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def verify(self, rows: Tokens[VerifyRow]) -> list[VerifyResult]:
        return asyncio.run(self.model.verify(rows))

    def draft(self, rows: Tokens[DraftRow]) -> list[DraftResult]:
        return asyncio.run(self.model.draft(rows))

    def release(self, session_ids: Tokens[int]) -> None:
        asyncio.run(self.model.release(session_ids))


@pytest.fixture
def verifier() -> ScriptedVerifier:
    return ScriptedVerifier(next_letter)


@pytest.fixture
def orchestrator(verifier: ScriptedVerifier, monkeypatch: pytest.MonkeyPatch) -> Orchestrator:
    drafters = {name: ScriptedDrafter(next_letter) for name in ("chat", "code")}
    callees = {"verifier": verifier_callee(Synchronous(verifier), 256)}
    callees |= {drafter_model(name): drafter_callee(Synchronous(model), 256) for name, model in drafters.items()}
    monkeypatch.setattr(pb_utils.InferenceRequest, "callees", callees)
    settings = Settings(drafters=tuple(drafters), serving=ServingSettings(max_requests=4, verifier_retry_seconds=0))
    return Orchestrator(settings, Vocabulary(lambda text: list(text.encode()), lambda ids: bytes(ids).decode(), {}))


def make_request(text: bytes = b"hello", **inputs: Any) -> Any:
    tensors = [pb_utils.Tensor("text_input", np.asarray([text], dtype=object))]
    tensors += [pb_utils.Tensor(name, np.asarray([value])) for name, value in inputs.items()]
    return pb_utils.InferenceRequest(inputs=tensors)


def serve(orchestrator: Orchestrator, *requests: Any) -> None:
    async def run() -> None:
        await asyncio.wait_for(asyncio.gather(*(orchestrator.serve(request) for request in requests)), 20)

    asyncio.run(run())
    assert [request.sender.num_finals for request in requests] == [1] * len(requests)


def outputs(response: Any) -> dict[str, Any]:
    assert not response.has_error(), response.error().message()
    return {tensor.name(): tensor.as_numpy()[0] for tensor in response.output_tensors()}


def text_of(request: Any) -> str:
    return b"".join(outputs(response)["text_output"] for response in request.sender.responses).decode()


def error_of(request: Any) -> Any:
    [response] = request.sender.responses
    assert response.has_error()
    return response.error()


def test_one_response_without_streaming_and_the_same_text_in_pieces_with_it(orchestrator: Orchestrator) -> None:
    whole, streamed = make_request(max_tokens=20), make_request(max_tokens=20, stream=True)
    serve(orchestrator, whole, streamed)
    assert len(whole.sender.responses) == 1
    assert len(streamed.sender.responses) > 2
    assert text_of(whole) == text_of(streamed)
    assert text_of(whole).startswith("hello") and len(text_of(whole)) == 25


def test_only_what_was_asked_for_is_returned(orchestrator: Orchestrator) -> None:
    request = make_request(exclude_input_in_output=True, max_tokens=3)
    serve(orchestrator, request)
    assert set(outputs(request.sender.responses[0])) == {"text_output"}
    assert len(text_of(request)) == 3


def test_counts_and_metrics_add_up(orchestrator: Orchestrator) -> None:
    request = make_request(
        max_tokens=21,
        stream=True,
        speculation=b"fixed:code:4",
        return_num_input_tokens=True,
        return_num_output_tokens=True,
        return_finish_reason=True,
        return_perf_metrics=True,
    )
    serve(orchestrator, request)
    chunks = [outputs(response) for response in request.sender.responses]
    assert sum(int(chunk["num_output_tokens"]) for chunk in chunks) == 21
    assert chunks[-1]["finish_reason"] == b"length"
    metrics = json.loads(chunks[-1]["perf_metrics"])
    assert (metrics["rounds"], metrics["num_draft_tokens"], metrics["num_accepted_tokens"]) == (4, 16, 16)
    assert metrics["drafter_shares"] == {"code": 1.0}
    assert set(metrics["time_ms"]) == {"route", "draft", "verify", "other"}


def test_a_bad_request_gets_its_sentence_and_the_others_go_on(orchestrator: Orchestrator) -> None:
    bad, good = make_request(max_tokens=0), make_request(max_tokens=5)
    serve(orchestrator, bad, good)
    assert error_of(bad).code() == pb_utils.TritonError.INVALID_ARG
    assert error_of(bad).message() == "INVALID_ARGUMENT: max_tokens must be from 1 to 1019 here, got 0"
    assert len(text_of(good)) == 10


@pytest.mark.parametrize(
    "request_",
    [
        make_request(b""),
        make_request(b"\xff"),
        make_request(temperature=float("nan")),
        make_request(speculation=b"fixed:poetry:3"),
        make_request(sampling_parameters=b"{"),
        make_request(max_tokens=[3, 4]),
        make_request(b"x" * 2000),
    ],
)
def test_every_bad_input_is_an_invalid_argument(orchestrator: Orchestrator, request_: Any) -> None:
    request_.sender = pb_utils.ResponseSender()
    serve(orchestrator, request_)
    assert error_of(request_).code() == pb_utils.TritonError.INVALID_ARG


def test_beyond_max_requests_the_answer_is_unavailable_at_once(orchestrator: Orchestrator) -> None:
    requests = [make_request(max_tokens=5) for _ in range(6)]
    serve(orchestrator, *requests)
    refused = [request for request in requests if request.sender.responses[0].has_error()]
    assert len(refused) == 2
    assert error_of(refused[0]).code() == pb_utils.TritonError.UNAVAILABLE


def test_a_verifier_that_stays_away_ends_the_request_with_an_error(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pb_utils.InferenceRequest, "callees", {})
    request = make_request()
    serve(orchestrator, request)
    assert error_of(request).code() == pb_utils.TritonError.UNAVAILABLE
    assert "verifier" in error_of(request).message()


def test_cancellation_frees_the_sessions(orchestrator: Orchestrator, verifier: ScriptedVerifier) -> None:
    request = make_request(max_tokens=1000, stream=True)
    request.sender.cancelled = True
    serve(orchestrator, request)
    assert len(verifier.group_sizes) < 5


def test_who_leaves_while_waiting_for_a_session_makes_room_at_once(
    orchestrator: Orchestrator, verifier: ScriptedVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caller, "LOOK_UP_EVERY", 0.01)
    pool = orchestrator._rounds.pool
    monkeypatch.setattr(pool, "_max_active", 0)
    request = make_request(max_tokens=1000)
    request.sender.cancelled = True
    serve(orchestrator, request)
    assert not len(pool) and not verifier.group_sizes


def test_whether_a_caller_has_gone_is_not_asked_every_round() -> None:
    now, sender = 10.0, pb_utils.ResponseSender()
    presence = Presence(sender, lambda: now)
    assert not presence.has_ended()
    sender.cancelled = True
    assert not presence.has_ended()
    now += ASK_EVERY
    assert presence.has_ended() and presence.has_ended()


def test_chunks_of_many_streams_keep_to_their_share_of_the_time() -> None:
    moments = iter(np.arange(0.0, 1.0, 0.002))  # so long takes a chunk
    pace = Pace(0.1, lambda: float(next(moments)))
    pace.streams.update(range(10))
    assert pace.pause == 0
    for _ in range(100):
        pace.timed(lambda: None)
    assert pace.pause == pytest.approx(10 * 0.002 / 0.1, rel=0.01)


def test_chunks_that_take_long_are_fewer_and_say_the_same(orchestrator: Orchestrator) -> None:
    def answer(seconds: float) -> Any:
        request = make_request(max_tokens=60, stream=True, speculation=b"off", return_num_output_tokens=True)
        send = request.sender.send

        def slowly(response: Any, flags: int = 0) -> None:
            time.sleep(seconds)
            send(response, flags=flags)

        request.sender.send = slowly
        serve(orchestrator, request)
        assert sum(int(outputs(response)["num_output_tokens"]) for response in request.sender.responses) == 60
        return request

    quick, slow = answer(0.0), answer(0.05)
    assert text_of(quick) == text_of(slow)
    assert 1 < len(slow.sender.responses) < len(quick.sender.responses)


def test_a_stream_that_has_ended_makes_no_other_wait(orchestrator: Orchestrator) -> None:
    broken = make_request(max_tokens=60, stream=True)
    send, num_sent = broken.sender.send, iter(range(100))

    def send_once(response: Any, flags: int = 0) -> None:
        if next(num_sent) == 1:
            raise OSError("the client's connection is gone")
        send(response, flags=flags)

    broken.sender.send = send_once
    serve(orchestrator, make_request(max_tokens=20, stream=True), make_request(max_tokens=20), broken)
    assert not orchestrator._pace.streams


def test_a_callee_answers_a_broken_call_beside_a_good_one(verifier: ScriptedVerifier) -> None:
    callee = verifier_callee(Synchronous(verifier), 256)
    from cospec.triton_io.rows import encode_release
    from cospec.triton_io.tensors import as_tensors

    good = pb_utils.InferenceRequest(inputs=as_tensors(encode_release([1], with_nodes=True)))
    broken = pb_utils.InferenceRequest(inputs=as_tensors({"row": np.zeros((1, 8), dtype=np.int64)}))
    first, second = callee.execute([broken, good])
    assert first.has_error() and not second.has_error()
