"""The round loop: take a group from the pool, draft, verify, take over the tokens, put the unfinished back.

It knows its drafters and its verifier only as protocols, so the same loop runs over scripted fakes, over models in this
process, and over Triton.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from collections.abc import Sequence as Rows
from functools import partial
from typing import Any

from cospec.config import Settings
from cospec.speculation.calibration import Calibration
from cospec.speculation.cost_model import StageCost
from cospec.speculation.drafter_pool import DrafterPool
from cospec.speculation.drafting import UNDER_WAY, Drafting
from cospec.speculation.grouping import Candidate, Limits, choose_group
from cospec.speculation.lookup import LOOKUP, LookupDrafter
from cospec.speculation.planning import Plan, Planner, make_policy
from cospec.speculation.pool import RequestPool
from cospec.speculation.request import GenerationRequest
from cospec.speculation.router import Router, TextPrior
from cospec.speculation.sequence import CalleeError, Draft, Finish, Sequence
from cospec.speculation.text_stream import Decode
from cospec.speculation.types import Drafter, Status, Verifier, VerifyResult

RETRY_PAUSE = 0.2  # seconds between two attempts at a verifier that fails
SLOT_PAUSE = 0.005  # seconds to wait when no sequence of a group got a slot


class RoundLoop:
    """`submit` sequences, then wait on their `progress`; `run` is the task that serves them."""

    def __init__(
        self,
        verifier: Verifier,
        drafters: Mapping[str, Drafter],
        end_tokens: Mapping[int, str],
        settings: Settings,
        clock: Callable[[], float],
        log_warning: Callable[[str], None],
        prior: TextPrior | None = None,
        busy_clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`clock`: seconds; `busy_clock`: seconds in which this thread had a processor."""
        speculation = settings.speculation
        self._verifier = verifier
        self._drafters = DrafterPool(
            {**drafters, LOOKUP: LookupDrafter()}, speculation.draft_patience_seconds, clock, log_warning
        )
        self._router = Router(self._drafters, prior, speculation.score_tokens)
        self._planner = Planner(speculation, make_policy(speculation), settings.serving.max_verify_tokens)
        self._draft_cost, self._verify_cost = StageCost(), StageCost()
        self._drafting = Drafting(self._drafters, Calibration(), settings.serving.max_verify_tokens)
        self._end_tokens = end_tokens
        self._settings = settings
        self._clock = clock
        self._busy_clock = busy_clock
        self._log_warning = log_warning
        self.pool = RequestPool(settings.serving.max_requests, settings.engine.verifier.num_slots)
        self._releases: set[asyncio.Task[None]] = set()

    def submit(self, session_id: int, request: GenerationRequest, decode: Decode) -> Sequence:
        """`session_id` is unique among live requests."""
        sequence = Sequence.create(session_id, request, decode, self._drafters.names)
        sequence.submitted_at, sequence.busy_before = self._clock(), self._busy_clock()
        self.pool.add(sequence)
        return sequence

    async def run(self) -> None:
        """Serve for ever, with `groups_in_flight` groups at a time: one drafts while another is verified."""
        await asyncio.gather(*(self._serve() for _ in range(self._settings.serving.groups_in_flight)))

    async def drain(self) -> None:
        """Wait until the sessions of ended sequences are released."""
        await asyncio.gather(*self._releases)

    async def _serve(self) -> None:
        while True:
            group = await self.pool.take_group(self._choose_group)
            try:
                await self._round([sequence for sequence in group if not sequence.cancelled])
            except Exception as error:  # whatever it is, these requests end and the loop goes on
                self._log_warning(f"a round failed: {error!r}")
                self._end_all(group, CalleeError("internal error while generating; see the server's log"))
            self._return(group)

    def _choose_group(self, ready: Rows[Sequence]) -> list[int]:
        serving = self._settings.serving
        share = -(-self.pool.num_active // serving.groups_in_flight)  # so that every stage has work
        limits = Limits(
            requests=min(serving.max_group_size, share),
            verify_tokens=serving.max_verify_tokens,
            seconds=serving.max_round_seconds,
            seconds_per_verify_token=serving.verify_token_weight,
        )
        waiting = [Candidate(len(sequence.tokens), sequence.last_draft_size) for sequence in ready]
        return choose_group(waiting, self._draft_cost, self._verify_cost, limits)

    async def _round(self, group: Rows[Sequence]) -> None:
        if not group:
            return
        plans = await self._plan(group)
        started = self._clock()
        drafts = await self._drafting.draft(group, plans)
        drafted = self._clock()
        unread = sum(len(sequence.tokens) - sequence.verifier_length for sequence in group)
        await self._verify(group, drafts)
        verified = self._clock()
        self._record(group, drafts, unread, (started, drafted, verified))

    def _record(
        self, group: Rows[Sequence], drafts: Rows[Draft], unread: int, moments: tuple[float, float, float]
    ) -> None:
        """`unread`: tokens that the verifier read before the drafts, whole prompts among them; `moments`: when drafting
        began, when verification began, when it ended."""
        drafting, verifying = moments[1] - moments[0], moments[2] - moments[1]
        nodes, longest = sum(map(len, drafts)), max(len(sequence.tokens) for sequence in group)
        if nodes:
            learn = partial(asyncio.get_running_loop().call_later, UNDER_WAY)
            learn(self._draft_cost.observe, len(group), nodes, longest, drafting)
            learn(self._verify_cost.observe, len(group), unread + nodes, longest, verifying)
        for sequence, draft in zip(group, drafts, strict=True):
            sequence.last_draft_size = len(draft)
            sequence.statistics.seconds["draft"] += drafting if len(draft) else 0.0
            sequence.statistics.seconds["verify"] += verifying
            sequence.statistics.timeline.append(moments)

    async def _plan(self, group: Rows[Sequence]) -> list[Plan]:
        started = self._clock()
        num_requests = self.pool.num_active
        drafting = [sequence for sequence in group if self._planner.drafts_for(sequence, num_requests)]
        await self._router.expect([item for item in drafting if item.request.speculation.drafter is None])
        available = self._drafters.available()
        plans = [self._planner.plan(sequence, available, num_requests) for sequence in group]
        for sequence in drafting:
            sequence.statistics.seconds["route"] += self._clock() - started
        return plans

    async def _verify(self, group: Rows[Sequence], drafts: Rows[Draft]) -> None:
        num_tokens = self._num_plain_tokens(group, drafts)
        rows = [sequence.verify_row(draft.tree, num_tokens) for sequence, draft in zip(group, drafts, strict=True)]
        try:
            results = await self._verifier.verify(rows)
        except CalleeError as error:
            await self._endure(group, error)
            return
        for sequence, draft, result in zip(group, drafts, results, strict=True):
            self._take_over(sequence, draft, result)
        if all(result.status is Status.NO_SLOT for result in results):
            await asyncio.sleep(SLOT_PAUSE)

    def _num_plain_tokens(self, group: Rows[Sequence], drafts: Rows[Draft]) -> int:
        """A call costs a small model as much as a token: where nobody drafts, one call brings several tokens.

        Not beside drafts, whose next round would wait, nor beside a prompt, whose first token would.
        """
        alone = not any(len(draft) for draft in drafts) and all(sequence.verifier_length for sequence in group)
        return self._settings.serving.plain_tokens_per_call if alone else 1

    def _take_over(self, sequence: Sequence, draft: Draft, result: VerifyResult) -> None:
        sequence.failing_since = None
        if result.status is Status.OK:
            if draft.drafters:
                self._drafting.learn(sequence, draft, result.tokens)
            sequence.accept(result, draft, self._end_tokens)
            return
        if result.status is Status.UNKNOWN_STATE:
            sequence.verifier_length = 0
        elif result.status is Status.TOO_LONG:
            sequence.end(CalleeError("the verifier's context is full"))

    async def _endure(self, group: Rows[Sequence], error: CalleeError) -> None:
        """The verifier failed: its state is in our tokens, so try again until patience ends."""
        now = self._clock()
        patience = self._settings.serving.verifier_retry_seconds
        if any(sequence.failing_since is None for sequence in group):
            self._log_warning(f"the verifier failed, {len(group)} requests wait: {error}")
        for sequence in group:
            sequence.failing_since = sequence.failing_since if sequence.failing_since is not None else now
            if now - sequence.failing_since >= patience:
                sequence.end(error)
        await asyncio.sleep(RETRY_PAUSE)

    def _end_all(self, group: Rows[Sequence], error: CalleeError) -> None:
        for sequence in group:
            sequence.end(error)

    def _return(self, group: Rows[Sequence]) -> None:
        ended = []
        for sequence in group:
            if sequence.cancelled:
                sequence.end(Finish("cancelled"))
            if sequence.done:
                self._close(sequence)
                ended.append(sequence)
            else:
                self.pool.put_back(sequence)
            sequence.progress.set()
        if ended:
            self._in_background(self._release(ended))

    def _close(self, sequence: Sequence) -> None:
        statistics, latency = sequence.statistics, self._clock() - sequence.submitted_at
        spent = statistics.seconds
        spent["other"] = latency - spent["route"] - spent["draft"] - spent["verify"]
        statistics.orchestrator_share = (self._busy_clock() - sequence.busy_before) / latency if latency else 0.0
        self.pool.retire()

    async def _release(self, sequences: Rows[Sequence]) -> None:
        await self._drafters.release(sequences)
        try:
            await self._verifier.release([sequence.session_id for sequence in sequences])
        except CalleeError as error:
            self._log_warning(f"the verifier keeps {len(sequences)} sessions until their lease ends: {error}")

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)
