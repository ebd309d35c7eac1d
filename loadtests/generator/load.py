"""One process's part of a run: sends requests, in an open or a closed loop, and hands out what became of them."""

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import gevent
from cospec_client import Client
from gevent.pool import Pool

from loadtests.generator.cooperative_grpc import MOST_STREAMS
from loadtests.generator.plan import Plan
from loadtests.generator.planned_requests import PlannedRequest, endless_requests
from loadtests.generator.record import Record
from loadtests.generator.timed_request import send, unsent
from loadtests.objectives import Objectives

START_DELAY = 0.2  # seconds between a user's start and the run's zero
PAUSE = 1.0  # seconds before a caller that was refused asks again


class Load:
    """`on_record` gets every request of the process, `on_end` is called once, when the last one has ended."""

    def __init__(
        self,
        plan: Plan,
        objectives: Objectives,
        client: Client,
        promises: Mapping[str, Mapping[str, object]],
        on_record: Callable[[Record], None],
        on_end: Callable[[], None],
    ) -> None:
        """`promises`: class -> what its requests tell the server of it."""
        self._plan = plan
        self._objectives = objectives
        self._client = client
        self._promises = promises
        self._on_record = on_record
        self._on_end = on_end
        self._asked = Pool(MOST_STREAMS)  # one more waits, and is late: the verdict says so
        self._origin: float | None = None
        self._watcher: gevent.Greenlet | None = None
        self._dispatching = False
        self._over = False

    def begin(self) -> bool:
        """Start the run's clock; False if it runs already."""
        if self._origin is not None:
            return False
        gc.collect()
        gc.freeze()  # a collection that walks the whole schedule would make requests late
        self._origin = time.perf_counter() + START_DELAY
        self._watcher = gevent.spawn(self._watch)
        return True

    def dispatch(self, requests: Sequence[PlannedRequest]) -> None:
        """Open loop: each at its time, however many are under way; what cannot be sent before the end is unfinished."""
        self._dispatching = True
        try:
            for request in requests:
                self._wait_until(request.at)
                if self._over:
                    self._on_record(unsent(request, self.clock()))
                else:
                    self._asked.spawn(self._ask, request)
        finally:
            self._dispatching = False

    def converse(self, caller: str) -> None:
        """Closed loop: one after another, until the run's end."""
        for request in endless_requests(self._plan, self._objectives, caller):
            self._wait_until(0)
            if self.clock() >= self._plan.end:
                return
            asked = self._asked.spawn(self._ask, replace(request, at=self.clock()))
            asked.join()
            if isinstance(asked.value, Record) and not asked.value.is_ok:
                gevent.sleep(PAUSE)

    def clock(self) -> float:
        """Seconds since the run's zero."""
        assert self._origin is not None
        return time.perf_counter() - self._origin

    def abandon(self) -> None:
        """Somebody has stopped the run: there will be no more records, and no end of it."""
        if not self._over and self._watcher is not None:
            self._watcher.kill()
            self._asked.kill()

    def _ask(self, request: PlannedRequest) -> Record:
        promised = self._promises.get(request.slo_class, {})
        record = send(self._client, request, self._plan.temperature, promised, self.clock)
        self._on_record(record)
        return record

    def _wait_until(self, moment: float) -> None:
        seconds = moment - self.clock()
        if seconds > 0:
            gevent.sleep(seconds)

    def _watch(self) -> None:
        self._wait_until(self._plan.end)
        self._asked.join(self._plan.grace)
        self._over = True
        self._asked.kill()
        while self._dispatching:
            gevent.sleep(0.01)
        self._asked.kill()  # the one that the dispatcher had in hand
        self._on_end()
