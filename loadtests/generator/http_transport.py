"""Triton's `generate` and `generate_stream` as a transport of the client, on sockets that gevent makes cooperative."""

import http.client
import json
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from cospec_client.errors import InvalidRequest, RequestTimeout, ServerError, Unavailable
from cospec_client.signatures import MODEL
from cospec_client.transport import Outputs

_BY_STATUS: Mapping[int, type[InvalidRequest] | type[Unavailable]] = {400: InvalidRequest, 503: Unavailable}
_PREFIXES = {"INVALID_ARGUMENT": InvalidRequest, "UNAVAILABLE": Unavailable, "DEADLINE_EXCEEDED": RequestTimeout}


class HttpTransport:
    """Safe to use from many threads: a connection carries one request at a time and is used again."""

    def __init__(self, address: str, timeout: float, streaming: bool = True) -> None:
        """`address`: host:port. Not `streaming`: one response with the whole answer."""
        self._address = address
        self._timeout = timeout
        self._streaming = streaming
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    def stream(self, inputs: Mapping[str, Any]) -> Generator[Outputs, None, None]:
        """Closing the iterator early closes the connection, by which the server cancels the request."""
        connection = self._take()
        finished = False
        try:
            yield from self._responses(connection, {**inputs, "stream": self._streaming})
            finished = True
        except TimeoutError:
            raise RequestTimeout(f"no answer within {self._timeout:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"{self._address}: {error or type(error).__name__}") from None
        finally:
            self._give_back(connection, finished)

    def is_ready(self) -> bool:
        connection = http.client.HTTPConnection(self._address, timeout=self._timeout)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", f"/v2/models/{MODEL}/ready")
            return connection.getresponse().status == 200
        return False

    def close(self) -> None:
        with self._lock:
            connections, self._idle = self._idle, []
        for connection in connections:
            connection.close()

    def _responses(self, connection: http.client.HTTPConnection, inputs: Mapping[str, Any]) -> Iterator[Outputs]:
        action = "generate_stream" if self._streaming else "generate"
        body = json.dumps({name: value for name, value in inputs.items() if value is not None})
        connection.request("POST", f"/v2/models/{MODEL}/{action}", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise _BY_STATUS.get(response.status, ServerError)(_sentence(response.read()))
        documents = _events(response) if self._streaming else iter([response.read()])
        for document in documents:
            yield _outputs(json.loads(document))
        response.read()  # to its very end, or the connection cannot be used again

    def _take(self) -> http.client.HTTPConnection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return http.client.HTTPConnection(self._address, timeout=self._timeout)

    def _give_back(self, connection: http.client.HTTPConnection, finished: bool) -> None:
        if not finished:
            connection.close()
            return
        with self._lock:
            self._idle.append(connection)


def _events(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The documents of server-sent events."""
    while line := response.readline():
        if line.startswith(b"data:"):
            yield line.removeprefix(b"data:").strip()


def _outputs(document: Mapping[str, Any]) -> Outputs:
    if "error" in document:
        name, _, rest = str(document["error"]).partition(": ")
        raise _PREFIXES.get(name, ServerError)(rest if name in _PREFIXES else str(document["error"]))
    return {name: _array(value) for name, value in document.items() if value not in (None, "") or name == "text_output"}


def _array(value: Any) -> "np.ndarray[Any, Any]":
    values = value if isinstance(value, list) else [value]
    return np.asarray([item.encode() if isinstance(item, str) else item for item in values], dtype=object)


def _sentence(content: bytes) -> str:
    try:
        return str(json.loads(content)["error"]).partition(": ")[2] or str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace")[:200]
