"""Requests on their way: over gRPC's transport by script, over HTTP to a small server, in an open and a closed loop."""

import itertools
import json
import threading
from collections.abc import Generator, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import gevent
import numpy as np
import pytest
from cospec_client import Client, CospecError, InvalidRequest, RequestTimeout, ServerError, Unavailable
from cospec_client.transport import Outputs

from loadtests.bad_input import BadInput
from loadtests.generator import connection
from loadtests.generator.connection import bare_address, model_inputs, promises_of
from loadtests.generator.http_transport import HttpTransport
from loadtests.generator.load import Load
from loadtests.generator.plan import Plan
from loadtests.generator.planned_requests import PlannedRequest
from loadtests.generator.record import FAILED, OK, REJECTED, TIMEOUT, UNFINISHED, Record
from loadtests.generator.timed_request import send, unreported
from loadtests.objectives import load_objectives

METRICS = {"drafted_rounds": 2, "num_accepted_tokens": 3, "drafter_shares": {"code": 1.0}}


def request(at: float = 0.0, **values: Any) -> PlannedRequest:
    defaults = {"domain": "code", "slo_class": "batch", "prompt": "x", "max_tokens": 3, "seed": 1, "speculation": "off"}
    return PlannedRequest(at=at, **{**defaults, **values})


def answer(tokens: int, **values: Any) -> Outputs:
    texts = {name: np.asarray([str(value).encode()], dtype=object) for name, value in values.items()}
    return {"num_output_tokens": np.asarray([tokens]), "num_input_tokens": np.asarray([4]), **texts}


class ScriptedTransport:
    """Two chunks of two tokens, after a pause; or an error; or nothing, for ever."""

    def __init__(self, pause: float = 0.0, error: CospecError | None = None) -> None:
        self.pause, self.error = pause, error
        self.sent: list[Mapping[str, Any]] = []
        self.cancelled = 0

    def stream(self, inputs: Mapping[str, Any]) -> Generator[Outputs, None, None]:
        self.sent.append(inputs)
        try:
            gevent.sleep(self.pause)
            if self.error is not None:
                raise self.error
            yield answer(2, text_output="ab")
            yield answer(2, text_output="cd", finish_reason="length", perf_metrics=json.dumps(METRICS))
        except (GeneratorExit, gevent.GreenletExit):
            self.cancelled += 1
            raise

    def is_ready(self) -> bool:
        return True

    def close(self) -> None: ...


def test_latency_counts_from_when_a_request_should_have_been_sent() -> None:
    moments = iter([5.0, 5.0, 5.5, 5.5, 6.0, 6.0, 6.0])
    transport = ScriptedTransport()
    record = send(Client(transport=transport), request(at=2.0), 0.0, {}, lambda: next(moments))
    assert (record.outcome, record.lag, record.ttft, record.latency) == (OK, 3.0, 3.5, 4.0)
    assert (record.output_tokens, record.num_accepted_tokens, record.gaps) == (4, 3, (0.5,))
    assert record.tpot == pytest.approx(0.5 / 3), "by tokens, not by chunks"
    assert transport.sent[0]["ignore_eos"] and "slo_class" not in transport.sent[0]


def test_a_server_that_knows_classes_is_told_a_requests_own() -> None:
    transport = ScriptedTransport()
    inputs = frozenset({"slo_class", "slo_ttft_ms"})
    promises = promises_of(Plan(), Client(transport=transport), load_objectives(), inputs)
    assert promises["interactive"] == {"slo_class": "interactive", "slo_ttft_ms": 300}
    assert promises["batch"] == {"slo_class": "batch"}
    send(Client(transport=transport), request(), 0.0, promises["batch"], lambda: 0.0)
    assert transport.sent[-1]["slo_class"] == "batch"


def test_a_class_that_the_server_does_not_know_is_told_by_its_limits_alone() -> None:
    strict = Client(transport=ScriptedTransport(error=InvalidRequest("slo_class must be one of a, b")))
    objectives, inputs = load_objectives(), frozenset({"slo_class", "slo_tpot_ms"})
    assert promises_of(Plan(), strict, objectives, inputs)["interactive"] == {"slo_tpot_ms": 30}
    assert promises_of(Plan(), strict, objectives, frozenset()) == {"interactive": {}, "standard": {}, "batch": {}}
    assert promises_of(Plan(promises="untold"), strict, objectives, inputs) == {}


@pytest.mark.parametrize(
    "error, outcome",
    [
        (Unavailable("full"), REJECTED),
        (RequestTimeout("late"), TIMEOUT),
        (ServerError("broken"), FAILED),
        (InvalidRequest("wrong"), FAILED),
    ],
)
def test_what_goes_wrong_is_a_record_with_the_servers_sentence(error: CospecError, outcome: str) -> None:
    record = send(Client(transport=ScriptedTransport(error=error)), request(), 0.0, {}, lambda: 1.0)
    assert (record.outcome, record.error) == (outcome, str(error))


def test_a_stream_that_ends_before_its_answer_is_a_failure() -> None:
    class Cut(ScriptedTransport):
        def stream(self, inputs: Mapping[str, Any]) -> Generator[Outputs, None, None]:
            yield answer(2, text_output="ab")

    record = send(Client(transport=Cut()), request(), 0.0, {}, lambda: 1.0)
    assert (record.outcome, record.error) == (FAILED, "the stream ended before the answer did")


def test_a_caller_that_is_refused_does_not_ask_again_at_once() -> None:
    transport = ScriptedTransport(error=Unavailable("full"))
    load, records, ended = loaded(transport, arrivals="closed", duration=1.2)
    load.begin()
    gevent.spawn(load.converse, "0/0")
    assert ended.wait(5) and 1 <= len(records) <= 2


def test_what_a_lost_worker_did_not_report_is_found_in_the_plan() -> None:
    planned = [request(at=1.0), request(at=1.0), request(at=2.0, domain="math")]
    records = [Record(1.0, 0.0, "code", "batch")]
    assert unreported(planned, records) == planned[1:]
    assert unreported(planned, [*records, *records, Record(2.0, 0.1, "math", "batch")]) == []


def loaded(transport: ScriptedTransport, **plan: Any) -> tuple[Load, list[Record], gevent.event.Event]:
    records: list[Record] = []
    ended = gevent.event.Event()
    settings = Plan(**{"duration": 1.0, "warm_up": 0.0, "grace": 2.0, **plan})
    client = Client(transport=transport)
    return Load(settings, load_objectives(), client, {}, records.append, ended.set), records, ended


def test_an_open_loop_sends_on_time_however_slow_the_answers_are() -> None:
    load, records, ended = loaded(ScriptedTransport(pause=0.7))
    load.begin()
    load.dispatch([request(at=number * 0.05) for number in range(10)])
    assert not records, "all are sent before the first answer"
    assert ended.wait(5) and len(records) == 10
    assert max(record.lag for record in records) < 0.1
    assert all(record.latency >= 0.69 for record in records)


def test_what_is_not_answered_within_the_grace_is_unfinished_and_cancelled() -> None:
    transport = ScriptedTransport(pause=60.0)
    load, records, ended = loaded(transport, grace=0.2)
    load.begin()
    load.dispatch([request(), request()])
    assert ended.wait(5)
    assert [record.outcome for record in records] == [UNFINISHED] * 2 and transport.cancelled == 2


def test_what_the_generator_did_not_come_to_send_is_a_miss_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtests.generator.load.MOST_STREAMS", 1)
    load, records, ended = loaded(ScriptedTransport(pause=60.0), grace=0.2)
    load.begin()
    load.dispatch([request(at=number * 0.01) for number in range(5)])
    assert ended.wait(5)
    assert [record.outcome for record in records] == [UNFINISHED] * 5
    assert [record.error for record in records].count("not sent by the end of the run") >= 3


def test_a_run_that_is_stopped_has_no_end() -> None:
    load, records, ended = loaded(ScriptedTransport(pause=60.0), grace=0.1)
    load.begin()
    load.dispatch([request()])
    load.abandon()
    assert not ended.wait(1.6) and len(records) == 1


def test_a_closed_loop_asks_again_when_it_has_its_answer_until_the_end() -> None:
    load, records, ended = loaded(ScriptedTransport(pause=0.2))
    load.begin()
    load.converse("0/0")
    assert ended.wait(5)
    assert 3 <= len(records) <= 6 and not load.begin()
    assert all(later.at >= earlier.ended for earlier, later in itertools.pairwise(records))


class Generate(BaseHTTPRequestHandler):
    """Triton's two ways to generate, enough of them to speak with."""

    protocol_version = "HTTP/1.1"
    inputs = b'{"inputs": [{"name": "speculation"}]}'

    def do_GET(self) -> None:
        self._answer(200 if self.path.endswith(("ready", "orchestrator")) else 404, self.inputs)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body["text_input"] == "bad":
            return self._answer(400, b'{"error": "INVALID_ARGUMENT: text_input is bad"}')
        piece = {"num_output_tokens": 2, "num_input_tokens": 4, "text_output": "ab", "finish_reason": ""}
        last = {**piece, "finish_reason": "length", "perf_metrics": json.dumps(METRICS)}
        if self.path.endswith("generate"):
            assert body["stream"] is False
            return self._answer(200, json.dumps({**last, "num_output_tokens": 4}).encode())
        error = {"error": "UNAVAILABLE: it is full"}
        events = [piece, error if body["text_input"] == "full" else last]
        return self._answer(200, b"".join(f"data: {json.dumps(event)}\n\n".encode() for event in events))

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None: ...


class QuietServer(ThreadingHTTPServer):
    """Says nothing of clients that close their connections."""

    def handle_error(self, *_: Any) -> None: ...


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with QuietServer(("127.0.0.1", 0), Generate) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("streaming, gaps", [(True, 1), (False, 0)])
def test_http_brings_the_same_record_as_grpc(address: str, streaming: bool, gaps: int) -> None:
    client = Client(transport=HttpTransport(address, 10, streaming))
    for _ in range(2):  # the second on the first one's connection
        record = send(client, request(), 0.0, {}, lambda: 0.0)
        assert (record.error, record.outcome, record.output_tokens, len(record.gaps)) == ("", OK, 4, gaps)
        assert record.num_accepted_tokens == 3 and record.drafter_shares == {"code": 1.0}
    assert client.is_ready()
    client.close()


def test_http_errors_are_the_clients_own(address: str) -> None:
    client = Client(transport=HttpTransport(address, 10))
    with pytest.raises(InvalidRequest, match="text_input is bad"):
        client.generate("bad")
    with pytest.raises(Unavailable, match="it is full"):
        client.generate("full")
    with pytest.raises(Unavailable, match="localhost:1"):
        Client(transport=HttpTransport("localhost:1", 10)).generate("x")


def test_a_server_is_asked_what_it_is_before_any_load(address: str) -> None:
    assert model_inputs(Plan(protocol="http"), address) == {"speculation"}
    assert bare_address("http://localhost:8000/") == "localhost:8000"
    for protocol, kind in (("grpc", "gRPC"), ("http", "HTTP")):
        with pytest.raises(BadInput, match=f"no server answers {kind} at localhost:1: "):
            model_inputs(Plan(protocol=protocol), "localhost:1")


def test_a_server_without_our_model_or_with_another_of_its_name_is_refused(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Generate, "inputs", b'{"inputs": [{"name": "text_input"}]}')
    with pytest.raises(BadInput, match="is not CoSpec's: it has no input 'speculation'"):
        model_inputs(Plan(protocol="http"), address)
    monkeypatch.setattr(connection, "MODEL", "nowhere")
    with pytest.raises(BadInput, match="has no model 'nowhere' that is ready"):
        model_inputs(Plan(protocol="http"), address)
