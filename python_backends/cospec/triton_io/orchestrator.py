"""The orchestrator between Triton and the round loop: one coroutine per request, from its tensors to its one FINAL."""

import asyncio
import itertools
import secrets
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import triton_python_backend_utils as pb_utils

from cospec.config import Settings, TracingSettings, drafter_model, settings_path
from cospec.draining import Gate
from cospec.metrics.catalogue import REPLICAS_UP
from cospec.metrics.recorder import Recorder
from cospec.metrics.round_metrics import RoundMetrics
from cospec.signatures import DRAFTER
from cospec.speculation.lookup import LOOKUP
from cospec.speculation.observer import Observer, Several
from cospec.speculation.profiling import Profiles, keep_learnt
from cospec.speculation.request import InvalidRequest, RequestFields, RequestLimits, build_request
from cospec.speculation.rounds import RoundLoop
from cospec.speculation.router import TextPrior
from cospec.speculation.sequence import Sequence
from cospec.speculation.verifier_pool import VerifierPool
from cospec.speculation.vocabulary import Vocabulary
from cospec.triton_io.bls import BlsDrafter, BlsVerifier
from cospec.triton_io.caller import FINAL, Caller, Pace
from cospec.triton_io.errors import Overloaded, error_response
from cospec.triton_io.publishing import Publisher
from cospec.triton_io.remote import RemoteDrafter, no_headers
from cospec.triton_io.replica import Replica
from cospec.triton_io.request_tensors import read_fields

if TYPE_CHECKING:
    from cospec.tracing import RoundTracing

REJECTIONS: dict[type[Exception], str] = {InvalidRequest: "invalid", Overloaded: "overloaded"}


def make_tracing(settings: TracingSettings) -> "RoundTracing | None":
    """None where nothing is traced; only else is OpenTelemetry needed."""
    if not settings.endpoint:
        return None
    from cospec.tracing import RoundTracing, make_provider

    return RoundTracing(make_provider(settings), time.monotonic)


class Orchestrator:
    def __init__(
        self,
        settings: Settings,
        vocabulary: Vocabulary,
        prior: TextPrior | None = None,
        profiles: Profiles | None = None,
    ) -> None:
        """Without `prior`, a request's first drafter is the one that finds its prompt the least surprising; without
        `profiles`, costs are learnt on the way."""
        self._vocabulary = vocabulary
        self._profiles = profiles
        self._executor = ThreadPoolExecutor(settings.serving.bls_threads, thread_name_prefix="bls")
        recorder = Recorder()
        self._metrics = RoundMetrics(
            recorder,
            (*settings.drafters, LOOKUP),
            settings.speculation.max_draft_tokens,
            settings.slo_classes,
            settings.verifier_models,
        )
        self._tracing = make_tracing(settings.tracing)
        self._rounds = self._make_loop(settings, recorder, prior)
        self._metrics.watch(self._rounds.pool)
        self._pace = Pace(settings.serving.sending_share, time.monotonic)
        self._publisher = Publisher(recorder, "orchestrator", settings.serving.metrics)
        self._limits = RequestLimits(
            max_length=settings.engine.verifier.max_length,
            default_max_tokens=settings.serving.default_max_tokens,
            drafters=(*settings.drafters, LOOKUP),
            max_draft_tokens=settings.speculation.max_draft_tokens,
            slo_classes=settings.slo_classes,
        )
        # Unique over restarts too: a callee may still hold what a crashed orchestrator left.
        self._session_ids = itertools.count(secrets.randbits(48) << 16)
        self._running: asyncio.Task[None] | None = None
        self._gate = Gate(settings_path())
        self._gate.live = 0  # whatever an orchestrator before this one left

    async def serve(self, request: "pb_utils.InferenceRequest") -> None:
        """Answer one request; exactly one FINAL on every path, since a missing one hangs client and server."""
        sender = request.get_response_sender()
        sequence: Sequence | None = None
        self._gate.live += 1
        try:
            fields = read_fields(request)
            sequence = self._submit(fields)
            await self._respond(sequence, fields, sender)
        except Exception as error:
            if sequence is not None:
                self._rounds.withdraw(sequence)
            elif type(error) in REJECTIONS:
                self._metrics.rejected(REJECTIONS[type(error)])
            pb_utils.Logger.log_verbose(traceback.format_exc())
            sender.send(error_response(error), flags=FINAL)
        finally:
            self._gate.live -= 1

    def _make_loop(self, settings: Settings, recorder: Recorder, prior: TextPrior | None) -> RoundLoop:
        warn = pb_utils.Logger.log_warn
        drafters = {name: self._drafter(name, settings) for name in settings.drafters}
        for name, drafter in drafters.items():
            recorder.watch(REPLICAS_UP, partial(getattr, drafter, "num_replicas_up"), name)
        verifiers = {name: BlsVerifier(name, self._executor) for name in settings.verifier_models}
        slots, failed = settings.engine.verifier.num_slots, self._metrics.verifier_failed
        observers: list[Observer] = [self._metrics] if settings.serving.metrics else []
        observers += [self._tracing] if self._tracing is not None else []
        return RoundLoop(
            VerifierPool(verifiers, slots, time.monotonic, warn, failed),
            drafters,
            self._vocabulary.end_tokens,
            settings,
            time.monotonic,
            warn,
            prior,
            busy_clock=time.thread_time,
            observer=Several(observers, warn),
        )

    def _drafter(self, name: str, settings: Settings) -> BlsDrafter | RemoteDrafter:
        model, remote = drafter_model(name), settings.remote_drafters.get(name)
        if remote is None:
            return BlsDrafter(model, self._executor)
        warn = pb_utils.Logger.log_warn
        replicas = [Replica(url, model, DRAFTER, remote, warn) for url in remote.urls]
        headers = self._tracing.headers if self._tracing is not None else no_headers
        return RemoteDrafter(name, replicas, self._vocabulary.size, headers)

    def close(self) -> None:
        self._publisher.close()
        if self._tracing is not None:
            self._tracing.close()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _run(self) -> None:
        if self._profiles is None:
            await self._rounds.run()
            return
        await self._rounds.know_costs(self._profiles)
        keeping = keep_learnt(self._rounds.steering.costs, self._profiles, pb_utils.Logger.log_warn)
        await asyncio.gather(self._rounds.run(), keeping)

    def _submit(self, fields: RequestFields) -> Sequence:
        if self._running is None or self._running.done():
            self._running = asyncio.get_running_loop().create_task(self._run())
        if self._gate.is_closed:
            raise Overloaded("the server is ending and takes in no more requests; try another one, or try again later")
        if self._rounds.pool.is_full:
            raise Overloaded(f"the server holds {len(self._rounds.pool)} requests, as many as it may; try again later")
        prompt = tuple(self._vocabulary.encode(fields.text_input))
        request = build_request(fields, prompt, self._limits, lambda: secrets.randbits(64))
        sequence = self._rounds.submit(next(self._session_ids), request, self._vocabulary.decode)
        if self._tracing is not None:
            self._tracing.begin(sequence, fields.traceparent)
        return sequence

    async def _respond(
        self, sequence: Sequence, fields: RequestFields, sender: "pb_utils.InferenceResponseSender"
    ) -> None:
        with closing(Caller(sequence, fields, sender, self._pace)) as caller:
            while not sequence.done:
                caller.look_up_later()
                await sequence.progress.wait()
                sequence.progress.clear()
                if not sequence.done and caller.has_left():
                    self._rounds.withdraw(sequence)
                elif not sequence.done:
                    caller.tell()
            caller.tell_last()
