"""The client over a scripted transport."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from cospec_client import Client, InvalidRequest, ServerError, Unavailable, cli
from cospec_client.errors import from_triton
from cospec_client.transport import Outputs
from tritonclient.utils import InferenceServerException


class ScriptedTransport:
    def __init__(self, *chunks: tuple[str, int], error: Exception | None = None) -> None:
        self.chunks = chunks
        self.error = error
        self.inputs: dict[str, Any] = {}
        self.closed_early = False

    def stream(self, inputs: Mapping[str, Any]) -> Iterator[Outputs]:
        self.inputs = dict(inputs)
        if self.error:
            raise self.error
        try:
            for number, (text, count) in enumerate(self.chunks, 1):
                yield outputs(text, count, last=number == len(self.chunks))
        except GeneratorExit:
            self.closed_early = True
            raise

    def is_ready(self) -> bool:
        return self.error is None

    def close(self) -> None:
        pass


def outputs(text: str, count: int, last: bool) -> Outputs:
    values: dict[str, Any] = {
        "text_output": [text.encode()],
        "num_output_tokens": [count],
        "num_input_tokens": [3],
    }
    if last:
        metrics = {"rounds": 2, "accepted_per_depth": [1], "drafter_shares": {"code": 1.0}, "invented_later": 1}
        values |= {"finish_reason": [b"stop"], "stop_reason": [b"</s>"], "perf_metrics": [json.dumps(metrics).encode()]}
    return {name: np.asarray(value, dtype=object) for name, value in values.items()}


def test_a_generation_joins_its_chunks_and_counts_tokens_not_chunks() -> None:
    generation = Client(transport=ScriptedTransport(("a", 1), ("bc", 4), ("", 0))).generate("x")
    assert (generation.text, generation.num_output_tokens, generation.finish_reason) == ("abc", 5, "stop")
    assert generation.perf_metrics.rounds == 2 and generation.perf_metrics.accepted_per_depth == (1,)
    assert generation.tpot == pytest.approx((generation.latency - generation.ttft) / 4)


def test_options_reach_the_server_by_name() -> None:
    transport = ScriptedTransport(("a", 1))
    Client(transport=transport).generate("x", max_tokens=3, exclude_input_in_output=False)
    assert transport.inputs["text_input"] == "x" and transport.inputs["max_tokens"] == 3
    assert transport.inputs["exclude_input_in_output"] is False and transport.inputs["stream"] is True


def test_closing_a_stream_early_reaches_the_transport() -> None:
    transport = ScriptedTransport(("a", 1), ("b", 1))
    stream = Client(transport=transport).stream("x")
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert transport.closed_early


@pytest.mark.parametrize(
    ("status", "kind"),
    [("StatusCode.INVALID_ARGUMENT", InvalidRequest), ("StatusCode.UNAVAILABLE", Unavailable), (None, ServerError)],
)
def test_status_codes_become_exceptions(status: str | None, kind: type) -> None:
    assert type(from_triton(InferenceServerException("sentence", status))) is kind


@pytest.mark.parametrize(
    ("error", "code"), [(None, 0), (InvalidRequest("top_p ..."), 2), (Unavailable("full"), 1), (ServerError("x"), 1)]
)
def test_exit_codes_of_the_command(
    error: Exception | None, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    transport = ScriptedTransport(("text", 2), error=error)
    monkeypatch.setattr(cli, "Client", lambda *_: Client(transport=transport))
    assert cli.main(["generate", "prompt", "--max-tokens", "2"]) == code
    captured = capsys.readouterr()
    assert captured.out == ("" if error else "text\n")
    assert "Traceback" not in captured.err and captured.err.count("\n") == 1
