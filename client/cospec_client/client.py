"""The client: `generate` for a whole answer, `stream` for its pieces as they come."""

import json
from collections.abc import Generator
from contextlib import closing
from types import TracebackType
from typing import Any

from cospec_client.recording import record
from cospec_client.transport import GrpcTransport, Outputs, Transport
from cospec_client.types import Chunk, Generation, PerfMetrics

DEFAULT_URL = "localhost:8001"


class Client:
    """Talks gRPC to a CoSpec server; safe to share between threads.

    Options of a request are the orchestrator's inputs by name: max_tokens, min_tokens, temperature, top_k, top_p, seed,
    stop_words, ignore_eos, speculation ("auto", "off", "fixed:<drafter>:<k>"), exclude_input_in_output (here True by
    default), sampling_parameters.
    """

    def __init__(self, url: str = DEFAULT_URL, timeout: float = 120.0, transport: Transport | None = None) -> None:
        """`timeout`: seconds to wait for each response of a request, not for all of them together."""
        self._transport = transport or GrpcTransport(url, timeout)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def stream(self, prompt: str, **options: Any) -> Generator[Chunk, None, None]:
        """Chunks as they come; closing the iterator early cancels the request on the server. Raises `CospecError`."""
        inputs = {"exclude_input_in_output": True, **options, "text_input": prompt, "stream": True}
        inputs |= dict.fromkeys(_RETURNED, True)
        with closing(self._transport.stream(inputs)) as responses:  # ends with this iterator, not when it is collected
            for outputs in responses:
                yield _chunk(outputs)

    def generate(self, prompt: str, **options: Any) -> Generation:
        """The whole answer, with times measured here. Raises `CospecError`."""
        return record(self.stream(prompt, **options))

    def is_ready(self) -> bool:
        return self._transport.is_ready()

    def close(self) -> None:
        self._transport.close()


_RETURNED = ("return_num_input_tokens", "return_num_output_tokens", "return_finish_reason", "return_perf_metrics")


def _chunk(outputs: Outputs) -> Chunk:
    metrics = _text(outputs, "perf_metrics")
    return Chunk(
        text=_text(outputs, "text_output") or "",
        num_tokens=int(outputs["num_output_tokens"][0]),
        num_input_tokens=int(outputs["num_input_tokens"][0]),
        finish_reason=_text(outputs, "finish_reason"),
        stop_reason=_text(outputs, "stop_reason"),
        perf_metrics=PerfMetrics.parse(json.loads(metrics)) if metrics else None,
    )


def _text(outputs: Outputs, name: str) -> str | None:
    return outputs[name][0].decode("utf-8") if name in outputs else None
