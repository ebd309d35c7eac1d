"""Ties a plan to Locust: who sends which share, where records meet, and when a run is over.

Locally all of it happens in one process. Distributed, each worker has its share before users start, workers send their
records with Locust's own reports, and each says when it has ended.
"""

from collections.abc import Callable
from typing import Any

import gevent
from cospec_client import CospecError
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtests.bad_input import BadInput
from loadtests.generator.connection import bare_address, connect, model_inputs, promises_of
from loadtests.generator.load import Load
from loadtests.generator.plan import Plan, check_plan, plan_of
from loadtests.generator.planned_requests import PlannedRequest, plan_requests, share_of
from loadtests.generator.record import Record
from loadtests.generator.shares import Share, ShareGiver, ShareTaker
from loadtests.generator.timed_request import unreported, unsent
from loadtests.objectives import Objectives
from loadtests.telling import tell

ENDED, RECORDS = "cospec_ended", "cospec_records"
LATE = 10.0  # seconds after a run's end in which its workers may still report


class Session:
    """A run after another; `deliver` gets each one's plan and records, on the process that has them all."""

    def __init__(self, environment: Environment, deliver: Callable[[Plan, list[Record]], None]) -> None:
        self._environment = environment
        self._deliver = deliver
        self._unsent: list[Record] = []
        self._ended, self._num_shares = 0, 1
        self._last_call: gevent.Greenlet | None = None
        self.records: list[Record] = []
        self.requests: list[PlannedRequest] = []  # this process's share of an open loop
        self.plan = self._plan()
        self.objectives: Objectives = check_plan(self.plan)
        self.load: Load
        runner = environment.runner
        self._giver = ShareGiver(runner) if isinstance(runner, MasterRunner) else None
        self._taker = ShareTaker(runner) if isinstance(runner, WorkerRunner) else None
        self._listen()

    @property
    def is_worker(self) -> bool:
        return self._taker is not None

    @property
    def share(self) -> Share:
        return self._taker.share if self._taker else Share()

    def _listen(self) -> None:
        events, runner = self._environment.events, self._environment.runner
        events.test_start.add_listener(self._start)
        events.test_stop.add_listener(self._stop)
        events.report_to_master.add_listener(self._report)
        events.worker_report.add_listener(self._take_report)
        if not self.is_worker:
            runner.register_message(ENDED, self._take_end)

    def _plan(self) -> Plan:
        options = self._environment.parsed_options
        options.users = options.num_users or 1  # as Locust calls it
        return plan_of(options)

    def _start(self, **_: Any) -> None:
        """Options may have changed in the web UI since the last run."""
        try:
            self.plan = self._plan()
            self.objectives = check_plan(self.plan)
            self.records, self._unsent, self._ended = [], [], 0
            if self._giver:
                self._share_out(self._giver)
            else:
                self._connect()
        except (BadInput, CospecError) as error:
            refuse(self._environment, error)

    def _connect(self) -> None:
        planned = [] if self.plan.is_closed else plan_requests(self.plan, self.objectives)
        self.requests = share_of(planned, self.share.index, self.share.workers)
        address = bare_address(self._environment.host or "")
        inputs = model_inputs(self.plan, address)
        client = connect(self.plan, address)
        promises = promises_of(self.plan, client, self.objectives, inputs)
        self.load = Load(self.plan, self.objectives, client, promises, self._on_record, self._on_end)

    def _share_out(self, giver: ShareGiver) -> None:
        self._num_shares = giver.give()
        self._last_call = gevent.spawn_later(self.plan.end + self.plan.grace + LATE, self._go_on_without)

    def _on_record(self, record: Record) -> None:
        (self._unsent if self.is_worker else self.records).append(record)
        self._environment.events.request.fire(
            request_type=self.plan.protocol,
            name=record.slo_class,
            response_time=record.latency * 1e3,
            response_length=record.output_tokens,
            exception=None if record.is_ok else RuntimeError(f"{record.outcome}: {record.error}"),
            context={},
        )

    def _on_end(self) -> None:
        self._environment.runner.send_message(ENDED, self._packed())

    def _packed(self) -> list[dict[str, Any]]:
        packed, self._unsent = [record.as_dict() for record in self._unsent], []
        return packed

    def _report(self, data: dict[str, Any], **_: Any) -> None:
        data[RECORDS] = self._packed()

    def _take_report(self, data: dict[str, Any], **_: Any) -> None:
        self.records += map(Record.parse, data.get(RECORDS, ()))

    def _take_end(self, msg: Any, **_: Any) -> None:
        self._take_report({RECORDS: msg.data})
        self._ended += 1
        if self._ended == self._num_shares:
            self._finish()

    def _go_on_without(self) -> None:
        """Workers are lost: what they did not report was not answered, for all that is known."""
        planned = [] if self.plan.is_closed else plan_requests(self.plan, self.objectives)
        self.records += [unsent(request, self.plan.end) for request in unreported(planned, self.records)]
        tell(f"{self._num_shares - self._ended} of {self._num_shares} workers were lost")
        self._finish()

    def _finish(self) -> None:
        runner = self._environment.runner
        self._end_last_call()
        self._deliver(self.plan, self.records)
        (runner.quit if self._environment.parsed_options.headless else runner.stop)()

    def _end_last_call(self) -> None:
        if self._last_call is not None and self._last_call is not gevent.getcurrent():
            self._last_call.kill()
        self._last_call = None

    def _stop(self, **_: Any) -> None:
        self._end_last_call()
        if hasattr(self, "load"):
            self.load.abandon()


def refuse(environment: Environment, error: Exception) -> None:
    """One sentence and exit code 2; a web UI stays, for another try."""
    tell(str(error))
    environment.process_exit_code = 2
    runner = environment.runner
    if runner is not None:
        (runner.quit if environment.parsed_options.headless else runner.stop)()
