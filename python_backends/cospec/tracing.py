"""OpenTelemetry spans of a request: one a round, and in it route, draft (one a drafter's call), fuse and verify.

They are made after the fact, from moments that the round loop knows anyway, so that tracing takes part in nothing. What
a round does for a group stands in the trace of each of its requests.
"""

import time
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Rows
from dataclasses import dataclass, field

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cospec.config import TracingSettings
from cospec.speculation.observer import Moments, Unobserved
from cospec.speculation.sequence import Draft, Sequence
from cospec.speculation.types import DraftRow, VerifyResult

_W3C = TraceContextTextMapPropagator()


def make_provider(settings: TracingSettings) -> TracerProvider:
    """Sends spans to the collector by a thread of its own; what the collector does not take is lost."""
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.share)),
        resource=Resource.create({"service.name": "cospec"}),
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(settings.endpoint)))
    return provider


@dataclass
class _Traced:
    """A request of which spans are wanted."""

    span: Span
    calls: list[tuple[str, float, float]] = field(default_factory=list)  # of this round: drafter, asked, answered
    num_tokens: int = 0  # that this round brought
    num_accepted: int = 0


class RoundTracing(Unobserved):
    """An `Observer` of the requests that `begin` names."""

    def __init__(self, provider: TracerProvider, clock: Callable[[], float]) -> None:
        """`clock`: the round loop's, in seconds."""
        self._provider = provider
        self._tracer = provider.get_tracer("cospec")
        self._offset = time.time_ns() - int(clock() * 1e9)
        self._traced: dict[int, _Traced] = {}  # by session

    def begin(self, sequence: Sequence, traceparent: str | None) -> None:
        """As part of the caller's trace, where `traceparent` (W3C) names one."""
        parent = _W3C.extract({"traceparent": traceparent}) if traceparent else Context()
        span = self._tracer.start_span("generate", parent, SpanKind.SERVER, start_time=self._at(sequence.submitted_at))
        if span.is_recording():
            span.set_attribute("gen_ai.usage.input_tokens", len(sequence.request.prompt))
            span.set_attribute("cospec.speculation", sequence.request.speculation.method.value)
            self._traced[sequence.session_id] = _Traced(span)

    def headers(self, session_ids: Iterable[int]) -> dict[str, str]:
        """What tells another server of the trace; of several, the first."""
        carrier: dict[str, str] = {}
        for session_id in session_ids:
            if session_id in self._traced:
                _W3C.inject(carrier, trace.set_span_in_context(self._traced[session_id].span))
                break
        return carrier

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()

    def answered(self, drafter: str, rows: Rows[DraftRow], asked: float, now: float) -> None:
        for traced in filter(None, (self._traced.get(row.session_id) for row in rows)):
            traced.calls.append((drafter, asked, now))

    def gained(self, sequence: Sequence, draft: Draft, result: VerifyResult, num_tokens: int, now: float) -> None:
        traced = self._traced.get(sequence.session_id)
        if traced is not None:
            traced.num_tokens, traced.num_accepted = num_tokens, len(result.path)

    def round_ended(self, group: Rows[Sequence], drafts: Rows[Draft], moments: Moments) -> None:
        for sequence, draft in zip(group, drafts, strict=True):
            traced = self._traced.get(sequence.session_id)
            if traced is not None:
                self._draw_round(traced, draft, moments, len(group))
                traced.calls, traced.num_tokens, traced.num_accepted = [], 0, 0

    def ended(self, sequence: Sequence) -> None:
        traced = self._traced.pop(sequence.session_id, None)
        if traced is None:
            return
        traced.span.set_attribute("gen_ai.usage.output_tokens", sequence.num_output_tokens)
        if sequence.finish is not None:
            traced.span.set_attribute("gen_ai.response.finish_reasons", [sequence.finish.reason])
        if sequence.error is not None:
            traced.span.set_status(Status(StatusCode.ERROR, str(sequence.error)))
        traced.span.end(self._at(sequence.ended_at))

    def _draw_round(self, traced: _Traced, draft: Draft, moments: Moments, group_size: int) -> None:
        routing, drafting, verifying, ended = moments
        span = self._draw(traced.span, "round", routing, None)
        span.set_attributes(
            {
                "cospec.group_size": group_size,
                "cospec.drafters": list(draft.drafters),
                "cospec.draft_tokens": len(draft),
                "cospec.accepted_tokens": traced.num_accepted,
                "cospec.output_tokens": traced.num_tokens,
            }
        )
        self._draw(span, "route", routing, drafting)
        calls = [call for call in traced.calls if call[1] >= routing]  # of an earlier round, some may have been late
        for drafter, asked, now in calls:
            self._draw(span, "draft" if asked >= drafting else "score", asked, now, drafter)
        answered = [now for _, asked, now in calls if asked >= drafting]
        if answered:
            self._draw(span, "fuse", max(answered), verifying)
        self._draw(span, "verify", verifying, ended)
        span.end(self._at(ended))

    def _draw(self, parent: Span, name: str, start: float, end: float | None, drafter: str = "") -> Span:
        """Open where `end` is None."""
        attributes = {"cospec.drafter": drafter} if drafter else None
        context = trace.set_span_in_context(parent)
        span = self._tracer.start_span(name, context, attributes=attributes, start_time=self._at(start))
        if end is not None:
            span.end(self._at(end))
        return span

    def _at(self, moment: float) -> int:
        """Nanoseconds since 1970."""
        return self._offset + int(moment * 1e9)
