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
from cospec.speculation.admission import make_admission
from cospec.speculation.calibration import Calibration
from cospec.speculation.cost_model import VerifyWork
from cospec.speculation.drafter_pool import DrafterPool
from cospec.speculation.drafting import UNDER_WAY, Drafted, Drafting
from cospec.speculation.lookup import LOOKUP, LookupDrafter
from cospec.speculation.observer import Observer, Unobserved
from cospec.speculation.planning import Plan, promised_by
from cospec.speculation.pool import RequestPool
from cospec.speculation.profiling import Profiler, Profiles
from cospec.speculation.request import GenerationRequest
from cospec.speculation.router import Router, TextPrior
from cospec.speculation.sequence import CalleeError, Draft, Finish, Sequence
from cospec.speculation.steering import Facts, Steering
from cospec.speculation.text_stream import Decode
from cospec.speculation.types import Drafter, Status, Verifier, VerifyResult

RETRY_PAUSE = 0.2  # seconds between two attempts at what fails
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
        observer: Observer | None = None,
    ) -> None:
        """`clock`: seconds; `busy_clock`: seconds in which this thread had a processor."""
        speculation = settings.speculation
        self._verifier = verifier
        self._models = drafters
        self._observer = observer or Unobserved()
        self._drafters = DrafterPool(
            {**drafters, LOOKUP: LookupDrafter()},
            speculation.draft_patience_seconds,
            clock,
            log_warning,
            self._observer,
        )
        self._router = Router(self._drafters, prior, speculation.score_tokens)
        self.steering = Steering(settings, len(drafters), clock)
        self._drafting = Drafting(self._drafters, Calibration(), settings.serving.max_verify_tokens)
        self._end_tokens = end_tokens
        self._settings = settings
        self._clock = clock
        self._busy_clock = busy_clock
        self._log_warning = log_warning
        self.pool = RequestPool(
            settings.serving.max_requests,
            settings.engine.verifier.num_slots * settings.verifiers,
            clock,
            make_admission(settings.serving.admission, lambda: self.steering.latest_seconds),
            self.steering.has_room,
            lambda: self.steering.lead,
        )
        self._ended_at: float | None = None  # of the latest round
        self._releases: set[asyncio.Task[None]] = set()

    def submit(self, session_id: int, request: GenerationRequest, decode: Decode) -> Sequence:
        """`session_id` is unique among live requests."""
        sequence = Sequence.create(session_id, request, decode, self._drafters.names)
        sequence.submitted_at, sequence.busy_before = self._clock(), self._busy_clock()
        self.pool.add(sequence)
        self._observer.admitted(sequence)
        return sequence

    def withdraw(self, sequence: Sequence) -> None:
        """Its caller has left: it ends with its round, or at once where it still waits for a session."""
        sequence.cancelled = True
        if self.pool.drop(sequence):
            sequence.end(Finish("cancelled"))
            self._close(sequence)

    async def know_costs(self, profiles: Profiles) -> None:
        """From an earlier start's profile, or by measuring, which takes seconds."""
        settings = self._settings
        rows, room = settings.serving.max_group_size, settings.engine.verifier.max_length
        slots = min(settings.engine.verifier.num_slots, settings.engine.drafter.num_slots)
        profiler = Profiler(self._verifier, self._models, self._clock, min(rows, slots), room)
        profile = await profiler.kept_or_new(profiles, self._log_warning)
        if profile is not None:
            self.steering.costs.learn(profile.verify, profile.draft)

    async def run(self) -> None:
        """Serve for ever, with `groups_in_flight` groups at a time: one drafts while another is verified."""
        await asyncio.gather(*(self._serve() for _ in range(self._settings.serving.groups_in_flight)))

    async def drain(self) -> None:
        """Wait until the sessions of ended sequences are released."""
        await asyncio.gather(*self._releases)

    async def _serve(self) -> None:
        while True:
            group: list[Sequence] = []
            try:
                group = await self.pool.take_group(self._choose_group)
                await self._round([sequence for sequence in group if not sequence.cancelled])
            except Exception as error:  # whatever it is, these requests end and the loop goes on
                self._log_warning(f"a round failed: {error!r}")
                group = group or self.pool.take_all()  # no group could be chosen, and the next time would be the same
                for sequence in group:
                    sequence.end(CalleeError("internal error while generating; see the server's log"))
                await asyncio.sleep(RETRY_PAUSE)
            self._return(group)

    def _choose_group(self, ready: Rows[Sequence]) -> list[int]:
        share = -(-self.pool.num_active // self._settings.serving.groups_in_flight)  # so that every stage has work
        return self.steering.choose_group(ready, share)

    async def _round(self, group: Rows[Sequence]) -> None:
        if not group:
            return
        pieces = self.steering.pieces(group)
        routing = self._clock()
        plans, promised = await self._plan(group, pieces)
        started = self._clock()
        self._observe_pause(len(group), started)
        drafted = await self._drafting.draft(group, plans, partial(self.steering.rates, group, pieces))
        verifying = self._clock()
        work = self._work(group, pieces, drafted.drafts)
        decoding = [sequence for sequence in group if sequence.num_unread == 1]
        before = sum(len(sequence.tokens) for sequence in decoding)
        served = await self._verify(group, pieces, drafted.drafts, work.steps)
        self._ended_at = self._clock()
        gained = sum(len(sequence.tokens) for sequence in decoding) - before
        moments = (started, verifying, self._ended_at)
        facts = Facts(
            work,
            drafted.work,
            verifying - started,
            self._ended_at - verifying,
            promised if drafted.work else 0.0,
            len(decoding),
            gained,
            sum(pieces) - len(group),
        )
        if served:
            self._record(group, drafted, facts, moments)
        self._observer.round_ended(group, drafted.drafts, (routing, *moments))

    def _observe_pause(self, rows: int, now: float) -> None:
        """What is not called a stage: the time since the last round, if there was work all along."""
        if self._ended_at is not None and not self.pool.waited:
            self.steering.costs.observe_between(rows, now - self._ended_at)

    def _record(
        self, group: Rows[Sequence], drafted: Drafted, facts: Facts, moments: tuple[float, float, float]
    ) -> None:
        """`moments`: when drafting began, when verification began, when it ended."""
        predicted = self.steering.predicted(facts.work, facts.drafted)
        asyncio.get_running_loop().call_later(UNDER_WAY, self.steering.observe_round, facts)
        for sequence, draft in zip(group, drafted.drafts, strict=True):
            sequence.last_draft_size = len(draft)
            statistics = sequence.statistics
            statistics.seconds["draft"] += facts.drafting if len(draft) else 0.0
            statistics.seconds["verify"] += facts.verifying
            statistics.timeline.append(moments)
            statistics.predicted.append(predicted)

    async def _plan(self, group: Rows[Sequence], pieces: Rows[int]) -> tuple[list[Plan], float]:
        """The plans, and the tokens per second that they promise."""
        started = self._clock()
        for sequence in group:
            sequence.started_at = started if sequence.started_at is None else sequence.started_at
        budgets = self.steering.budgets(group, pieces)
        drafting = [sequence for sequence, budget in zip(group, budgets, strict=True) if budget.depth]
        await self._router.expect([item for item in drafting if item.request.speculation.drafter is None])
        plans = self.steering.plans(group, budgets, self._drafters.available())
        for sequence in drafting:
            sequence.statistics.seconds["route"] += self._clock() - started
        self._observer.planned(plans)
        return plans, promised_by(budgets, drafting)

    def _work(self, group: Rows[Sequence], pieces: Rows[int], drafts: Rows[Draft]) -> VerifyWork:
        longest = max(len(sequence.tokens) for sequence in group)
        steps = self._num_plain_tokens(group, drafts)
        return VerifyWork(len(group), sum(pieces) + sum(map(len, drafts)), longest, steps)

    async def _verify(self, group: Rows[Sequence], pieces: Rows[int], drafts: Rows[Draft], num_tokens: int) -> bool:
        """Whether the verifier did its work: else there is nothing to learn from how long it took."""
        rows = [
            sequence.verify_row(draft.tree, num_tokens, piece)
            for sequence, draft, piece in zip(group, drafts, pieces, strict=True)
        ]
        try:
            results = await self._verifier.verify(rows)
        except CalleeError as error:
            await self._endure(group, error)
            return False
        now = self._clock()
        for sequence, draft, piece, result in zip(group, drafts, pieces, results, strict=True):
            self._take_over(sequence, draft, piece, result, now)
        if all(result.status is Status.NO_SLOT for result in results):
            await asyncio.sleep(SLOT_PAUSE)
        return any(result.status is Status.OK for result in results)

    def _num_plain_tokens(self, group: Rows[Sequence], drafts: Rows[Draft]) -> int:
        """A call costs a small model as much as a token: where nobody drafts, one call brings several tokens.

        Not beside drafts, whose next round would wait, nor beside a prompt, whose first token would.
        """
        alone = not any(len(draft) for draft in drafts) and all(sequence.num_unread == 1 for sequence in group)
        return self._settings.serving.plain_tokens_per_call if alone else 1

    def _take_over(self, sequence: Sequence, draft: Draft, piece: int, result: VerifyResult, now: float) -> None:
        sequence.failing_since = None
        sequence.passed_over = 0
        if result.status is Status.OK and piece < sequence.num_unread:
            sequence.read_piece(piece)
        elif result.status is Status.OK:
            self._learn(sequence, draft, result)
            if sequence.first_token_at is None and sequence.started_at is not None:
                self.steering.observe_first_token(now - sequence.started_at)
            before = sequence.num_output_tokens
            sequence.accept(result, draft, self._end_tokens)
            self._observer.gained(sequence, draft, result, sequence.num_output_tokens - before, now)
            sequence.note_gain(now)
        elif result.status is Status.UNKNOWN_STATE:
            sequence.verifier_length = 0
        elif result.status is Status.TOO_LONG:
            sequence.end(CalleeError("the verifier's context is full"))

    def _learn(self, sequence: Sequence, draft: Draft, result: VerifyResult) -> None:
        if draft.drafters:
            self._drafting.learn(sequence, draft, result.tokens)
        self.steering.observe(sequence, draft, len(result.path))

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

    def _return(self, group: Rows[Sequence]) -> None:
        ended, now = [], self._clock()
        for sequence in group:
            if sequence.cancelled:
                sequence.end(Finish("cancelled"))
            if sequence.done:
                self._close(sequence)
                self.pool.retire()
                ended.append(sequence)
            else:
                self.pool.put_back(sequence)
            sequence.tell_caller(now)
        if ended:
            self._in_background(self._release(ended))

    def _close(self, sequence: Sequence) -> None:
        sequence.settle(self._clock(), self._busy_clock())
        statistics = sequence.statistics
        statistics.round_trips = {
            name: seconds for name, seconds in self._drafters.round_trips.items() if name in statistics.drafted_by
        }
        self._observer.ended(sequence)

    async def _release(self, sequences: Rows[Sequence]) -> None:
        """At the same time, so that a drafter that hangs keeps no slot of the verifier."""
        await asyncio.gather(self._drafters.release(sequences), self._release_from_verifier(sequences))

    async def _release_from_verifier(self, sequences: Rows[Sequence]) -> None:
        try:
            await self._verifier.release([sequence.session_id for sequence in sequences])
        except CalleeError as error:
            self._log_warning(f"the verifier keeps {len(sequences)} sessions until their lease ends: {error}")

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)
