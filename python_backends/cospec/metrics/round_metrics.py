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
    """An `Observer`; times are seconds. Counters are at hand: a round of many requests counts a hundred times."""

    def __init__(
        self,
        recorder: Recorder,
        drafters: Rows[str],
        max_draft_tokens: int,
        slo_classes: Iterable[str] = (),
        verifiers: Iterable[str] = (),
    ) -> None:
        """`verifiers`: their Triton models."""
        self._recorder = recorder
        counter, counters, histogram = recorder.counter, recorder.counters, recorder.histogram
        self._admitted, self._failed = counter(m.ADMITTED), counter(m.FAILED)
        self._prompt_tokens, self._tokens = counter(m.PROMPT_TOKENS), counter(m.GENERATION_TOKENS)
        self._rejected = counters(m.REJECTED, REASONS_TO_REJECT)
        self._succeeded = counters(m.SUCCEEDED, REASONS_TO_FINISH)
        classes = (NO_CLASS, *slo_classes)
        self._attained, self._missed = counters(m.SLO_ATTAINED, classes), counters(m.SLO_MISSED, classes)
        self._first, self._gaps, self._per_token = histogram(m.TTFT), histogram(m.INTER_CHUNK), histogram(m.TPOT)
        self._latency, self._queued = histogram(m.LATENCY), histogram(m.QUEUE_TIME)
        self._rounds = counters(m.ROUNDS, ("drafted", "plain"))
        self._stages = counters(m.STAGE_SECONDS, ("draft", "verify"))
        self._drafts, self._draft_tokens = counter(m.NUM_DRAFTS), counter(m.NUM_DRAFT_TOKENS)
        self._accepted = counter(m.NUM_ACCEPTED)
        self._accepted_at = list(counters(m.ACCEPTED_AT, map(str, range(max_draft_tokens))).values())
        self._proposed, self._agreed = counters(m.DRAFTER_TOKENS, drafters), counters(m.DRAFTER_ACCEPTED, drafters)
        self._calls, self._call_seconds = counters(m.DRAFTER_CALLS, drafters), counters(m.DRAFTER_SECONDS, drafters)
        self._call_failures = counters(m.DRAFTER_FAILURES, drafters)
        self._verifier_failures = counters(m.VERIFIER_FAILURES, verifiers)
        methods = [method.value for method in Method if method is not Method.AUTO]
        self._plans, self._depths = counters(m.PLANS, methods), counters(m.PLANNED_DEPTH, methods)
        self._asked = counters(m.PLANNED_DRAFTERS, methods)
        self._undrafted = self._plans[Method.OFF.value]

    def watch(self, pool: RequestPool) -> None:
        self._recorder.watch(m.RUNNING, lambda: pool.num_active)
        self._recorder.watch(m.WAITING, lambda: pool.num_waiting)

    def rejected(self, reason: str) -> None:
        """`reason` is one of `REASONS_TO_REJECT`."""
        self._rejected[reason].value += 1

    def admitted(self, sequence: Sequence) -> None:
        self._admitted.value += 1
        self._prompt_tokens.value += len(sequence.request.prompt)

    def planned(self, plans: Rows[Plan]) -> None:
        drafting = [plan for plan in plans if plan.drafters]
        self._undrafted.value += len(plans) - len(drafting)
        for plan in drafting:
            method = plan.method.value
            self._plans[method].value += 1
            self._depths[method].value += plan.depth
            self._asked[method].value += len(plan.drafters)

    def answered(self, drafter: str, rows: Rows[DraftRow], asked: float, now: float) -> None:
        self._calls[drafter].value += 1
        self._call_seconds[drafter].value += now - asked

    def failed(self, drafter: str) -> None:
        self._call_failures[drafter].value += 1

    def verifier_failed(self, model: str) -> None:
        self._verifier_failures[model].value += 1

    def gained(self, sequence: Sequence, draft: Draft, result: VerifyResult, num_tokens: int, now: float) -> None:
        self._tokens.value += num_tokens
        if sequence.last_token_at is None:
            self._first.append(now - sequence.submitted_at)
        else:
            self._gaps.append(now - sequence.last_token_at)
        if draft.nodes:
            self._count_draft(draft, result.path)

    def round_ended(self, group: Rows[Sequence], drafts: Rows[Draft], moments: Moments) -> None:
        _, drafting, verifying, ended = moments
        self._rounds["drafted" if any(draft.nodes for draft in drafts) else "plain"].value += 1
        self._stages["draft"].value += verifying - drafting
        self._stages["verify"].value += ended - verifying

    def ended(self, sequence: Sequence) -> None:
        if sequence.request.slo.promises:
            kept = answered(sequence) and all(sequence.statistics.slo_met.values())
            (self._attained if kept else self._missed)[sequence.request.slo.name or NO_CLASS].value += 1
        if sequence.finish is None:
            self._failed.value += 1
            return
        self._succeeded[sequence.finish.reason].value += 1
        if sequence.started_at is not None:
            self._queued.append(sequence.started_at - sequence.submitted_at)
        if answered(sequence):
            self._observe_latency(sequence)

    def _observe_latency(self, sequence: Sequence) -> None:
        assert sequence.first_token_at is not None and sequence.last_token_at is not None
        self._latency.append(sequence.last_token_at - sequence.submitted_at)
        if sequence.num_output_tokens > 1:
            decoding = sequence.last_token_at - sequence.first_token_at
            self._per_token.append(decoding / (sequence.num_output_tokens - 1))

    def _count_draft(self, draft: Draft, path: Rows[int]) -> None:
        nodes = [draft.fused.nodes[index] for index in draft.nodes]
        self._drafts.value += 1
        self._draft_tokens.value += len(nodes)
        self._accepted.value += len(path)
        for at in self._accepted_at[: len(path)]:
            at.value += 1
        for node in nodes:
            for drafter in node.voices:
                self._proposed[drafter].value += 1
        for index in path:
            for drafter in nodes[index].voices:
                self._agreed[drafter].value += 1


def answered(sequence: Sequence) -> bool:
    """Whether the caller got the whole text."""
    return sequence.finish is not None and sequence.finish.reason != "cancelled"
