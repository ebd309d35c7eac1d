"""Sends one request and takes its times."""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace

from cospec_client import Client, CospecError, Generation, Recorder, RequestTimeout, Unavailable
from gevent import GreenletExit

from loadtests.generator.planned_requests import PlannedRequest
from loadtests.generator.record import CANCELLED, FAILED, OK, REJECTED, TIMEOUT, UNFINISHED, Record

Clock = Callable[[], float]


def send(
    client: Client, request: PlannedRequest, temperature: float, promised: Mapping[str, object], clock: Clock
) -> Record:
    """`promised`: what the server is told of the request's class. `clock`: seconds on the run's own clock, on which
    `request.at` is. Never raises for what the server does.
    """
    sent = clock()
    waiting = Record(request.at, sent - request.at, request.domain, request.slo_class)
    recorder, moments = Recorder(clock), []
    try:
        with closing(client.stream(request.prompt, **_options(request, temperature, promised))) as chunks:
            for chunk in chunks:
                recorder.add(chunk)
                if chunk.num_tokens:
                    moments.append(clock())
        return _finished(waiting, recorder.generation(), moments)
    except CospecError as error:
        return replace(waiting, outcome=outcome_of(error), error=str(error), latency=clock() - request.at)
    except GreenletExit:  # the run is over and its grace too
        return replace(
            waiting, outcome=UNFINISHED, error="no answer by the end of the run", latency=clock() - request.at
        )


def unsent(request: PlannedRequest, now: float) -> Record:
    """Of a request that the generator did not come to send."""
    waiting = Record(request.at, now - request.at, request.domain, request.slo_class)
    return replace(waiting, outcome=UNFINISHED, error="not sent by the end of the run", latency=waiting.lag)


def unreported(planned: Sequence[PlannedRequest], records: Sequence[Record]) -> list[PlannedRequest]:
    """Those of the plan that no record is of."""
    known = Counter((record.at, record.domain, record.slo_class) for record in records)
    left = []
    for request in planned:
        place = request.at, request.domain, request.slo_class
        if known[place]:
            known[place] -= 1
        else:
            left.append(request)
    return left


def outcome_of(error: CospecError) -> str:
    if isinstance(error, Unavailable):
        return REJECTED
    return TIMEOUT if isinstance(error, RequestTimeout) else FAILED


def _options(request: PlannedRequest, temperature: float, promised: Mapping[str, object]) -> dict[str, object]:
    return {
        "max_tokens": request.max_tokens,
        "temperature": temperature,
        "seed": request.seed,
        "ignore_eos": True,  # every answer has the length that the plan says
        "speculation": request.speculation,
        **promised,
    }


def _finished(waiting: Record, generation: Generation, moments: list[float]) -> Record:
    if not generation.finish_reason:  # HTTP tells no end of a stream from a connection that was lost
        error, latency = "the stream ended before the answer did", waiting.lag + generation.latency
        return replace(waiting, outcome=FAILED, error=error, latency=latency)
    metrics = generation.perf_metrics
    return replace(
        waiting,
        outcome=CANCELLED if generation.finish_reason == CANCELLED else OK,
        ttft=waiting.lag + generation.ttft,
        latency=waiting.lag + generation.latency,
        input_tokens=generation.num_input_tokens,
        output_tokens=generation.num_output_tokens,
        gaps=tuple(later - earlier for earlier, later in itertools.pairwise(moments)),
        rounds=metrics.rounds,
        drafted_rounds=metrics.drafted_rounds,
        num_draft_tokens=metrics.num_draft_tokens,
        num_accepted_tokens=metrics.num_accepted_tokens,
        accepted_per_depth=metrics.accepted_per_depth,
        drafter_shares=metrics.drafter_shares,
    )
