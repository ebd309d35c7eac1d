"""Calls to the server that we started: never through a proxy, which knows no server of this machine."""

import urllib.request
from collections.abc import Mapping

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def reachable(host: str) -> str:
    """Where a server that listens on `host` is reached from here."""
    if host in ("", "0.0.0.0", "127.0.0.1"):
        return "localhost"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host


def call(url: str, timeout: float, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> int:
    """The status; `body`: to POST. Raises OSError."""
    request = urllib.request.Request(url, data=body, headers=dict(headers or {}))
    with _OPENER.open(request, timeout=timeout) as answer:
        return int(answer.status)
