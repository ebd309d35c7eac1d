"""The spans of a request, from the round loop over scripted models."""

from collections.abc import Sequence

import pytest
from cospec.config import TracingSettings
from cospec.tracing import RoundTracing, make_provider
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from scripted import ScriptedDrafter, ScriptedVerifier
from scripted_rounds import counting, generate, make_loop, make_request, often_right, routed

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_SAMPLED = CALLER[:-2] + "00"


def traced(traceparent: str | None, share: float = 1.0, failures: int = 0) -> Sequence[ReadableSpan]:
    """The spans of one request."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(share)))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = RoundTracing(provider, lambda: 0.0)
    verifier = ScriptedVerifier(counting, failures=failures)
    loop = make_loop(verifier, {"code": ScriptedDrafter(often_right)}, observer=tracing, verifier_retry_seconds=0)
    submit = loop.submit

    def submit_traced(*arguments: object) -> object:
        sequence = submit(*arguments)  # type: ignore[arg-type]
        tracing.begin(sequence, traceparent)
        assert bool(tracing.headers([sequence.session_id])) == bool(share or traceparent == CALLER)
        return sequence

    loop.submit = submit_traced  # type: ignore[assignment,method-assign]
    generate(loop, make_request(max_tokens=12, mode=routed(4)))
    assert not tracing.headers(range(10)), "a request that has ended is still known"
    return exporter.get_finished_spans()


def named(spans: Sequence[ReadableSpan], name: str) -> list[ReadableSpan]:
    return [span for span in spans if span.name == name]


def test_a_request_has_a_span_each_of_its_rounds_one_and_each_stage_one() -> None:
    spans = traced(None)
    [request] = named(spans, "generate")
    rounds = named(spans, "round")
    assert request.parent is None and len(rounds) > 2
    assert {span.parent.span_id for span in rounds if span.parent} == {request.context.span_id}
    drafted = [span for span in rounds if span.attributes and span.attributes["cospec.draft_tokens"]]
    assert len(named(spans, "verify")) == len(named(spans, "route")) == len(rounds)
    assert len(named(spans, "draft")) == len(named(spans, "fuse")) == len(drafted) > 0
    assert len(named(spans, "score")) == 1, "without a text classifier, drafters are asked once whose text it is"
    assert sum(span.attributes["cospec.output_tokens"] for span in rounds if span.attributes) == 12
    assert request.attributes and request.attributes["gen_ai.usage.output_tokens"] == 12


def test_stages_follow_each_other_within_their_round() -> None:
    spans = traced(None)
    for one in named(spans, "round"):
        stages = sorted(
            (span for span in spans if span.parent and span.parent.span_id == one.context.span_id),
            key=lambda span: (span.start_time or 0, span.end_time or 0),
        )
        assert [stage.name for stage in stages if stage.name not in ("draft", "score")] in (
            ["route", "verify"],
            ["route", "fuse", "verify"],
        )
        assert all(one.start_time <= stage.start_time <= stage.end_time <= one.end_time for stage in stages)  # type: ignore[operator]


def test_it_is_part_of_the_callers_trace() -> None:
    spans = traced(CALLER)
    assert {f"{span.context.trace_id:032x}" for span in spans} == {CALLER.split("-")[1]}
    [request] = named(spans, "generate")
    assert request.parent and f"{request.parent.span_id:016x}" == CALLER.split("-")[2]


@pytest.mark.parametrize("broken", ["", "00-abc", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_a_traceparent_that_is_none_begins_a_trace_of_its_own(broken: str) -> None:
    [request] = named(traced(broken), "generate")
    assert request.parent is None


def test_who_says_that_a_trace_is_not_wanted_gets_none() -> None:
    assert not traced(None, share=0.0)
    assert traced(CALLER, share=0.0)


def test_a_failed_request_says_so() -> None:
    [request] = named(traced(None, failures=1000), "generate")
    assert not request.status.is_ok and "verifier failed" in str(request.status.description)


def test_a_collector_that_is_not_there_costs_nothing_but_the_spans() -> None:
    provider = make_provider(TracingSettings("http://127.0.0.1:9/v1/traces"))
    RoundTracing(provider, lambda: 0.0).close()
