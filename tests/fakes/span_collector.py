"""An OpenTelemetry collector: takes spans over HTTP and keeps them."""

import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """As a context manager, listening at `endpoint`."""

    def __init__(self) -> None:
        self._spans: list[Any] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = ExportTraceServiceRequest.FromString(body)
                collector._spans += [
                    span for each in request.resource_spans for scope in each.scope_spans for span in scope.spans
                ]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}/v1/traces"

    def __enter__(self) -> "Collector":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, trace_id: str, last: str) -> list[Any]:
        """All spans of a trace, as soon as there is one of this name; a batch may take five seconds to come."""
        deadline = time.monotonic() + 20
        while True:
            spans = [span for span in self._spans if span.trace_id.hex() == trace_id]
            if any(span.name == last for span in spans):
                return spans
            assert time.monotonic() < deadline, f"no span {last!r} has come"
            time.sleep(0.1)
