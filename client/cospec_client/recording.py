"""Turns the chunks of a stream, as they come, into a `Generation` with its times."""

import time
from collections.abc import Callable, Iterable

from cospec_client.errors import ServerError
from cospec_client.types import Chunk, Generation, PerfMetrics


def record(chunks: Iterable[Chunk]) -> Generation:
    """All of a stream that is yet to start, or to go on. Raises `CospecError`."""
    recorder = Recorder()
    for chunk in chunks:
        recorder.add(chunk)
    return recorder.generation()


class Recorder:
    """Made when the request is sent; `add` takes each chunk when it comes."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._started = clock()
        self._first: float | None = None
        self._chunks: list[Chunk] = []

    def add(self, chunk: Chunk) -> None:
        # A response may hold text and no token, such as the echoed prompt: the first token is what counts.
        if self._first is None and chunk.num_tokens:
            self._first = self._clock()
        self._chunks.append(chunk)

    def generation(self) -> Generation:
        """The whole answer, ended now. Raises `ServerError` if no response came."""
        if not self._chunks:
            raise ServerError("the server ended the request without an answer")
        ended = self._clock()
        last = self._chunks[-1]
        return Generation(
            text="".join(chunk.text for chunk in self._chunks),
            num_input_tokens=last.num_input_tokens,
            num_output_tokens=sum(chunk.num_tokens for chunk in self._chunks),
            finish_reason=last.finish_reason or "",
            stop_reason=last.stop_reason or "",
            perf_metrics=last.perf_metrics or PerfMetrics(),
            ttft=(ended if self._first is None else self._first) - self._started,
            latency=ended - self._started,
        )
