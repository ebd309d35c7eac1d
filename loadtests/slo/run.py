"""One load test from start to end: a server, a warm-up, the load, its judgement."""

import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cospec_client import Client, InvalidRequest

from loadtests.bad_input import BadInput
from loadtests.generator.connection import model_inputs
from loadtests.generator.plan import CHARACTERS_PER_TOKEN, GRPC, Plan, check_plan
from loadtests.server_process import Addresses
from loadtests.slo.generate import generate
from loadtests.slo.guard import read_baseline
from loadtests.slo.outcome import Outcome, outcome_of
from loadtests.slo.report import write_run
from loadtests.slo.server import ServerChoice, check_choice, facts_of, measured_server
from loadtests.slo.server_metrics import changes, scrape
from loadtests.slo.warm_up import Alone, try_out, warm_up
from loadtests.telling import tell


@dataclass(frozen=True)
class Ready:
    """A server that has been warmed up for a plan."""

    addresses: Addresses
    alone: Alone
    facts: Mapping[str, Any]


def run(plan: Plan, choice: ServerChoice, folder: Path, workers: int = 1, baseline: Path | None = None) -> int:
    """The exit code; the first line printed is the verdict. Raises `BadInput` before any load is sent."""
    check_plan(plan)
    check_choice(choice)
    expected = read_baseline(baseline) if baseline is not None else None
    with measured_server(choice) as addresses:
        ready = prepare(plan, choice, addresses)
        say(f"load: {plan.warm_up:g} s of warm-up, then {plan.duration:g} s that count")
        outcome = measure(plan, ready, workers, expected)
        report = write_run(outcome, folder)
        print(outcome.sentence)
        print(_guard_line(outcome))
        print(f"report: {report}   beside it: result.json, requests.csv", flush=True)
    return outcome.verdict.exit_code


def prepare(plan: Plan, choice: ServerChoice, addresses: Addresses, others: Sequence[str] = ()) -> Ready:
    """Ask the server what it is, and warm it up. Raises `BadInput`, `CospecError`.

    `others`: ways to speculate that will be used beside the plan's.
    """
    for protocol, address in ((GRPC, addresses.grpc), (plan.protocol, address_for(plan, addresses))):
        model_inputs(replace(plan, protocol=protocol), address)
    say("warm-up: requests one at a time, with speculation and without")
    with Client(addresses.grpc) as client:
        try:
            for speculation in others:
                try_out(client, speculation, plan.workload)
            alone = warm_up(client, plan.speculation, plan.workload)
        except InvalidRequest as error:
            raise BadInput(f"the server refuses the plan's requests: {error}") from None
    return Ready(addresses, alone, facts_of(choice, addresses))


def measure(plan: Plan, ready: Ready, workers: int = 1, baseline: Mapping[str, Any] | None = None) -> Outcome:
    """Send the plan's load and judge what came back."""
    if plan.characters_per_token == CHARACTERS_PER_TOKEN:
        plan = replace(plan, characters_per_token=round(ready.alone.characters_per_token, 3))
    started = time.strftime("%Y-%m-%d %H:%M:%S %z")
    before, used = scrape(ready.addresses.metrics), _processor_seconds()
    records = generate(plan, ready.addresses, workers)
    grown = changes(before, scrape(ready.addresses.metrics))
    generator = {
        "workers": workers,
        "processor_seconds": round(_processor_seconds() - used, 2),
    }
    facts = {
        **ready.facts,
        "started": started,
        "generator": generator,
        "alone": asdict(ready.alone),
        "server_metrics": grown,
    }
    return outcome_of(records, plan, facts, baseline)


def _processor_seconds() -> float:
    """Of processes of ours that have ended, such as a generator's; a server that still runs is none of them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def address_for(plan: Plan, addresses: Addresses) -> str:
    return addresses.grpc if plan.protocol == GRPC else addresses.http


def new_folder(parent: Path, name: str) -> Path:
    """Of this moment's run."""
    return parent / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}".replace(":", "-").replace("/", "-")


def say(text: str) -> None:
    """Progress, which is not the result."""
    tell(f"{text} ...")


def _guard_line(outcome: Outcome) -> str:
    guarded = outcome.result["guard"]
    if guarded["why_not"]:
        return f"regressions: not held against earlier runs, {guarded['why_not']}"
    failed = sum(each["regressed"] for each in guarded["ratios"])
    return f"regressions: {failed} of {len(guarded['ratios'])} ratios are worse than earlier runs'"
