"""What the client sends, and how it holds its connections, over a gRPC client made of a script."""

from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from cospec_client import Client, InvalidRequest, RequestTimeout, ServerError, Unavailable, transport
from cospec_client.request_tensors import request_tensors
from tritonclient.utils import InferenceServerException


class Response:
    """One response as tritonclient hands it over; no text: the empty FINAL."""

    def __init__(self, text: str | None, final: bool) -> None:
        values = {} if text is None else {"text_output": text.encode(), "num_output_tokens": 1, "num_input_tokens": 3}
        self.values = values
        self.response = SimpleNamespace(
            outputs=[SimpleNamespace(name=name) for name in values],
            parameters={"triton_final_response": SimpleNamespace(bool_param=final)},
        )

    def get_response(self) -> SimpleNamespace:
        return self.response

    def as_numpy(self, name: str) -> "np.ndarray[Any, Any]":
        return np.asarray([self.values[name]], dtype=object)


class ScriptedGrpc:
    """Answers every request with `script`; all that were made are in `made`."""

    made: ClassVar[list["ScriptedGrpc"]] = []
    script: ClassVar[list[Response | InferenceServerException]] = []

    def __init__(self, url: str) -> None:
        self.requests = 0
        self.cancelled = False
        self.made.append(self)

    def start_stream(self, callback: Any) -> None:
        self.callback = callback

    def async_stream_infer(self, model: str, tensors: Any, outputs: Any, enable_empty_final_response: bool) -> None:
        assert model == "orchestrator" and enable_empty_final_response
        self.requests += 1
        for item in self.script:
            failed = isinstance(item, InferenceServerException)
            self.callback(None if failed else item, item if failed else None)

    def stop_stream(self, cancel_requests: bool) -> None:
        assert cancel_requests
        self.cancelled = True

    def close(self) -> None:
        pass


@pytest.fixture
def grpc(monkeypatch: pytest.MonkeyPatch) -> type[ScriptedGrpc]:
    monkeypatch.setattr(transport, "InferenceServerClient", ScriptedGrpc)
    monkeypatch.setattr(ScriptedGrpc, "made", [])
    monkeypatch.setattr(ScriptedGrpc, "script", [Response("ab", False), Response("c", False), Response(None, True)])
    return ScriptedGrpc


def test_the_empty_final_response_is_no_chunk(grpc: type[ScriptedGrpc]) -> None:
    assert [chunk.text for chunk in Client().stream("x")] == ["ab", "c"]


def test_a_finished_connection_serves_the_next_request(grpc: type[ScriptedGrpc]) -> None:
    client = Client()
    assert [client.generate("x").text for _ in range(3)] == ["abc"] * 3
    assert [made.requests for made in grpc.made] == [3]


def test_requests_in_flight_have_a_connection_each(grpc: type[ScriptedGrpc]) -> None:
    client = Client()
    first, second = client.stream("x"), client.stream("x")
    assert next(first).text == next(second).text == "ab"
    assert len(grpc.made) == 2


def test_a_stream_closed_early_is_cancelled_and_not_used_again(grpc: type[ScriptedGrpc]) -> None:
    client = Client()
    stream = client.stream("x")
    next(stream)
    stream.close()
    assert grpc.made[0].cancelled
    assert client.generate("x").text == "abc" and len(grpc.made) == 2


def test_a_connection_that_died_while_idle_is_replaced(grpc: type[ScriptedGrpc]) -> None:
    client = Client()
    client.generate("x")
    grpc.made[0].callback(None, InferenceServerException("Socket closed", "StatusCode.UNAVAILABLE"))
    assert client.generate("x").text == "abc"
    assert [made.cancelled for made in grpc.made] == [True, False]


def test_a_failed_connection_is_dropped(grpc: type[ScriptedGrpc]) -> None:
    grpc.script[:] = [Response("ab", False), InferenceServerException("gone", "StatusCode.UNAVAILABLE")]
    with pytest.raises(Unavailable, match="gone"):
        Client().generate("x")
    assert grpc.made[0].cancelled


def test_no_answer_in_time_is_a_timeout_and_cancels(grpc: type[ScriptedGrpc]) -> None:
    grpc.script.clear()
    with pytest.raises(RequestTimeout, match=r"no answer within 0\.01 s"):
        Client(timeout=0.01).generate("x")
    assert grpc.made[0].cancelled


def test_an_end_without_an_answer_is_an_error(grpc: type[ScriptedGrpc]) -> None:
    grpc.script[:] = [Response(None, True)]
    with pytest.raises(ServerError, match="without an answer"):
        Client().generate("x")


def test_closing_the_client_closes_what_is_idle_and_what_ends_later(grpc: type[ScriptedGrpc]) -> None:
    with Client() as client:
        client.generate("x")
        late = client.stream("x")
        client.generate("x")
        next(late)
    list(late)
    assert all(made.cancelled for made in grpc.made)


def test_options_become_tensors_of_the_models_types() -> None:
    tensors = {
        tensor.name(): (tensor.datatype(), tensor.shape())
        for tensor in request_tensors({"text_input": "é", "seed": 2**64 - 1, "stop_words": ["a", "b"], "top_k": None})
    }
    assert tensors == {"text_input": ("BYTES", [1]), "seed": ("UINT64", [1]), "stop_words": ("BYTES", [2])}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_tokens", "many"),
        ("max_tokens", 2**40),
        ("max_tokens", 1.5),
        ("max_tokens", True),
        ("max_tokens", float("nan")),
        ("seed", -1),
        ("temperature", "hot"),
        ("ignore_eos", 1),
        ("text_input", 7),
        ("text_input", "\ud800"),
        ("stop_words", ["a", 3]),
    ],
)
def test_a_value_that_does_not_fit_names_its_option(grpc: type[ScriptedGrpc], option: str, value: object) -> None:
    with pytest.raises(InvalidRequest, match=f"^{option} must be "):
        request_tensors({option: value})


def test_a_bad_request_opens_no_connection(grpc: type[ScriptedGrpc]) -> None:
    with pytest.raises(InvalidRequest, match="unknown option 'max_token'; options: text_input, max_tokens"):
        Client().generate("x", max_token=3)
    assert grpc.made == []
