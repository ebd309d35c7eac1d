"""Makes Locust know our options, users, columns and report."""

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from locust import events
from locust.env import Environment

from loadtests.bad_input import BadInput
from loadtests.generator.connection import bare_address, model_inputs
from loadtests.generator.plan import Plan, add_plan_options
from loadtests.generator.record import Record
from loadtests.generator.session import Session
from loadtests.generator.users import user_of
from loadtests.slo.outcome import outcome_of
from loadtests.slo.records_file import write_records
from loadtests.slo.report import write_run
from loadtests.slo.web_ui import extend
from loadtests.telling import tell

LOCUSTS_OWN = ("users",)  # of a plan's options


def install() -> None:
    events.init_command_line_parser.add_listener(_add_options)
    events.init.add_listener(_begin)


def _add_options(parser: Any, **_: Any) -> None:
    """To the parser itself, not to a group of it: only then are they fields of the web UI's form too."""
    add_plan_options(parser, but=LOCUSTS_OWN)
    records = "only write every request to this file, as JSON lines"
    parser.add_argument("--records", default="", metavar="FILE", help=records, include_in_web_ui=False)
    output = "where a run's folder is made (default: %(default)s)"
    parser.add_argument("--output", default="build/loadtest", metavar="DIR", help=output, include_in_web_ui=False)


def _begin(environment: Environment, **_: Any) -> None:
    """A plan that cannot be is refused before any load, with exit code 2."""
    options = environment.parsed_options
    try:
        session = Session(environment, partial(_deliver, environment))
        if options.headless and not session.is_worker:
            model_inputs(session.plan, bare_address(environment.host or ""))
    except BadInput as error:
        tell(str(error))
        sys.exit(2)
    environment.cospec = session
    environment.user_classes = [user_of(session.plan)]
    extend(environment, session)


def _deliver(environment: Environment, plan: Plan, records: list[Record]) -> None:
    options = environment.parsed_options
    if options.records:
        write_records(records, Path(options.records))
        return
    outcome = outcome_of(records, plan, {"server": {"address": environment.host}})
    folder = Path(options.output) / time.strftime("%Y%m%d-%H%M%S")
    write_run(outcome, folder)
    print(outcome.sentence)
    print(f"report: {folder / 'report.html'}", flush=True)
    environment.process_exit_code = outcome.verdict.exit_code
