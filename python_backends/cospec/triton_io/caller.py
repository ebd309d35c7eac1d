"""One who waits for an answer: whether it is still there, what it has been sent, and when it may have more.

To send a chunk and to ask for the caller are calls to the server, in which the event loop does nothing else.
"""

import asyncio
import math
import time
from collections.abc import Callable
from functools import partial

import triton_python_backend_utils as pb_utils

from cospec.speculation.request import RequestFields
from cospec.speculation.sequence import Finish, Sequence
from cospec.triton_io.request_tensors import chunk_response

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
ASK_EVERY = 0.25  # seconds
LOOK_UP_EVERY = 2.0  # ... of one who waits for a session; the others are asked when they have news
MEMORY = 0.9  # of what earlier chunks took, a chunk later


class Presence:
    """Whether a caller is still there, as of a moment ago."""

    def __init__(self, sender: "pb_utils.InferenceResponseSender", clock: Callable[[], float]) -> None:
        self._sender = sender
        self._clock = clock
        self.ask_at = -math.inf  # the moment from which it may be asked again
        self._ended = False

    def has_ended(self) -> bool:
        now = self._clock()
        if not self._ended and now >= self.ask_at:
            self.ask_at = now + ASK_EVERY
            self._ended = self._sender.is_cancelled()
        return self._ended


class Pace:
    """Of chunks: the more streams there are, the fewer and longer ones each has."""

    def __init__(self, share: float, clock: Callable[[], float]) -> None:
        """`share`: of the event loop's time, that the chunks of all streams may take together."""
        self._share = share
        self._clock = clock
        self._seconds = 0.0  # that a chunk takes, lately
        self.streams: set[object] = set()  # those that have had a chunk and not yet all

    def timed(self, send: Callable[[], None]) -> None:
        started = self._clock()
        send()
        self._seconds += (1 - MEMORY) * (self._clock() - started - self._seconds)

    @property
    def pause(self) -> float:
        """Seconds between two chunks of a stream."""
        return len(self.streams) * self._seconds / self._share


class Caller:
    def __init__(
        self, sequence: Sequence, fields: RequestFields, sender: "pb_utils.InferenceResponseSender", pace: Pace
    ) -> None:
        self._sequence = sequence
        self._fields = fields
        self._sender = sender
        self._pace = pace
        self._presence = Presence(sender, time.monotonic)
        self._prefix = "" if fields.exclude_input_in_output else fields.text_input
        self._num_sent = 0  # tokens
        self._due = -math.inf if fields.stream else math.inf
        self._alarm: asyncio.TimerHandle | None = None  # when to look again, whether there is news or not

    def has_left(self) -> bool:
        return self._presence.has_ended()

    def look_up_later(self) -> None:
        """Where nothing has begun, news may be long in coming."""
        if self._sequence.started_at is None:
            self._drop_alarm()
            self._alarm = asyncio.get_running_loop().call_later(LOOK_UP_EVERY, self._sequence.progress.set)

    def tell(self) -> None:
        """What is new, to one who streams; later, if the latest chunk was a moment ago."""
        if time.monotonic() >= self._due and (text := self._prefix + self._sequence.text.take()):
            self._pace.streams.add(self)
            self._pace.timed(partial(self._send, text))
            self._due = time.monotonic() + self._pace.pause
        self._sequence.news_from = min(self._due, self._presence.ask_at)

    def tell_last(self) -> None:
        """The rest, or raise what went wrong."""
        if self._sequence.error is not None:
            raise self._sequence.error
        assert isinstance(self._sequence.finish, Finish)
        self._send(self._prefix + self._sequence.text.finish(), FINAL)

    def close(self) -> None:
        """Whatever became of it."""
        self._pace.streams.discard(self)
        self._drop_alarm()

    def _drop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _send(self, text: str, flags: int = 0) -> None:
        num_tokens = self._sequence.num_output_tokens
        self._sender.send(chunk_response(self._sequence, self._fields, text, num_tokens - self._num_sent), flags=flags)
        self._num_sent, self._prefix = num_tokens, ""
