"""What the round loop tells of itself, as metrics."""

from collections.abc import Iterable
from collections.abc import Sequence as Rows

from cospec.metrics import catalogue as m
from cospec.metrics.recorder import Recorder
from cospec.speculation.observer import Moments
from cospec.speculation.planning import Plan
from cospec.speculation.pool import RequestPool
from cospec.speculation.request import Method
from cospec.speculation.sequence import Draft, Sequence
from cospec.speculation.types import DraftRow, VerifyResult

REASONS_TO_FINISH = ("stop", "length", "cancelled")
REASONS_TO_REJECT = ("invalid", "overloaded")
NO_CLASS = "request"  # of promises that a request brings itself


class RoundMetrics:
    """An `Observer`; times are seconds."""

    def __init__(
        self, recorder: Recorder, drafters: Rows[str], max_draft_tokens: int, slo_classes: Iterable[str] = ()
    ) -> None:
        self._recorder = recorder
        self._positions = [str(position) for position in range(max_draft_tokens)]
        recorder.expect(m.ADMITTED, m.FAILED, m.PROMPT_TOKENS, m.GENERATION_TOKENS)
        recorder.expect(m.TTFT, m.TPOT, m.INTER_CHUNK, m.LATENCY, m.QUEUE_TIME)
        recorder.expect(m.NUM_DRAFTS, m.NUM_DRAFT_TOKENS, m.NUM_ACCEPTED)
        methods = [method.value for method in Method if method is not Method.AUTO]
        for metrics, values in (
            ([m.REJECTED], REASONS_TO_REJECT),
            ([m.SUCCEEDED], REASONS_TO_FINISH),
            ([m.ROUNDS], ("drafted", "plain")),
            ([m.STAGE_SECONDS], ("draft", "verify")),
            ([m.ACCEPTED_AT], self._positions),
            ([m.DRAFTER_TOKENS, m.DRAFTER_ACCEPTED, m.DRAFTER_CALLS, m.DRAFTER_SECONDS, m.DRAFTER_FAILURES], drafters),
            ([m.SLO_ATTAINED, m.SLO_MISSED], (NO_CLASS, *slo_classes)),
            ([m.PLANS, m.PLANNED_DEPTH, m.PLANNED_DRAFTERS], methods),
        ):
            for metric in metrics:
                for value in values:
                    recorder.count(metric, 0, value)

    def watch(self, pool: RequestPool) -> None:
        self._recorder.watch(m.RUNNING, lambda: pool.num_active)
        self._recorder.watch(m.WAITING, lambda: pool.num_waiting)

    def rejected(self, reason: str) -> None:
        """`reason` is one of `REASONS_TO_REJECT`."""
        self._recorder.count(m.REJECTED, 1, reason)

    def admitted(self, sequence: Sequence) -> None:
        self._recorder.count(m.ADMITTED)
        self._recorder.count(m.PROMPT_TOKENS, len(sequence.request.prompt))

    def planned(self, plans: Rows[Plan]) -> None:
        for plan in plans:
            method = plan.method.value if plan.drafters else Method.OFF.value
            self._recorder.count(m.PLANS, 1, method)
            self._recorder.count(m.PLANNED_DEPTH, plan.depth, method)
            self._recorder.count(m.PLANNED_DRAFTERS, len(plan.drafters), method)

    def answered(self, drafter: str, rows: Rows[DraftRow], asked: float, now: float) -> None:
        self._recorder.count(m.DRAFTER_CALLS, 1, drafter)
        self._recorder.count(m.DRAFTER_SECONDS, now - asked, drafter)

    def failed(self, drafter: str) -> None:
        self._recorder.count(m.DRAFTER_FAILURES, 1, drafter)

    def gained(self, sequence: Sequence, draft: Draft, result: VerifyResult, num_tokens: int, now: float) -> None:
        self._recorder.count(m.GENERATION_TOKENS, num_tokens)
        if sequence.last_token_at is None:
            self._recorder.observe(m.TTFT, now - sequence.submitted_at)
        else:
            self._recorder.observe(m.INTER_CHUNK, now - sequence.last_token_at)
        if draft.nodes:
            self._count_draft(draft, result.path)

    def round_ended(self, group: Rows[Sequence], drafts: Rows[Draft], moments: Moments) -> None:
        _, drafting, verifying, ended = moments
        self._recorder.count(m.ROUNDS, 1, "drafted" if any(map(len, drafts)) else "plain")
        self._recorder.count(m.STAGE_SECONDS, verifying - drafting, "draft")
        self._recorder.count(m.STAGE_SECONDS, ended - verifying, "verify")

    def ended(self, sequence: Sequence) -> None:
        if sequence.request.slo.promises:
            kept = answered(sequence) and all(sequence.statistics.slo_met.values())
            self._recorder.count(m.SLO_ATTAINED if kept else m.SLO_MISSED, 1, sequence.request.slo.name or NO_CLASS)
        if sequence.finish is None:
            self._recorder.count(m.FAILED)
            return
        self._recorder.count(m.SUCCEEDED, 1, sequence.finish.reason)
        if sequence.started_at is not None:
            self._recorder.observe(m.QUEUE_TIME, sequence.started_at - sequence.submitted_at)
        if answered(sequence):
            self._observe_latency(sequence)

    def _observe_latency(self, sequence: Sequence) -> None:
        assert sequence.first_token_at is not None and sequence.last_token_at is not None
        self._recorder.observe(m.LATENCY, sequence.last_token_at - sequence.submitted_at)
        if sequence.num_output_tokens > 1:
            decoding = sequence.last_token_at - sequence.first_token_at
            self._recorder.observe(m.TPOT, decoding / (sequence.num_output_tokens - 1))

    def _count_draft(self, draft: Draft, path: Rows[int]) -> None:
        recorder, nodes = self._recorder, [draft.fused.nodes[index] for index in draft.nodes]
        recorder.count(m.NUM_DRAFTS)
        recorder.count(m.NUM_DRAFT_TOKENS, len(nodes))
        recorder.count(m.NUM_ACCEPTED, len(path))
        for position in self._positions[: len(path)]:
            recorder.count(m.ACCEPTED_AT, 1, position)
        for node in nodes:
            for drafter in node.voices:
                recorder.count(m.DRAFTER_TOKENS, 1, drafter)
        for index in path:
            for drafter in nodes[index].voices:
                recorder.count(m.DRAFTER_ACCEPTED, 1, drafter)


def answered(sequence: Sequence) -> bool:
    """Whether the caller got the whole text."""
    return sequence.finish is not None and sequence.finish.reason != "cancelled"
