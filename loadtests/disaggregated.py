"""`make bench-disaggregated`: drafters in a server of their own, called over gRPC, beside the same called over BLS.

Both on this machine, so that what differs is the way of the calls alone. Servers take turns; the one that waits uses no
processor.
"""

import argparse
import contextlib
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from cospec_client import Client, CospecError

from loadtests.bench_options import add_output
from loadtests.bench_plan import Mode
from loadtests.environment import DEFAULT_SETTINGS, describe_environment, read_settings
from loadtests.json_process import CommandFailed
from loadtests.paired import PairedRates, PairPlan, as_markdown, measure_pair
from loadtests.server_process import ServerFailed, running_server
from loadtests.settings_file import write_changed

MODES = (Mode("auto", "auto"), Mode("routed:4", "routed:4"), Mode("tree:8", "tree:8"))
FULL = PairPlan(repeats=8, max_tokens=64, requests={1: 10, 8: 32, 32: 64})
QUICK = PairPlan(repeats=2, max_tokens=32, requests={1: 5, 8: 16})


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.disaggregated", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="two repeats of few and short answers: a look, not a result"
    )
    add_output(parser, "disaggregated.json and .md")
    options = parser.parse_args(arguments)
    plan = QUICK if options.quick else FULL
    try:
        write_report(measure(plan), plan, options.output)
    except (ServerFailed, CospecError, CommandFailed) as error:
        print(f"bench-disaggregated: {error}", file=sys.stderr)
        return 1
    print((options.output / "disaggregated.md").read_text(encoding="utf-8"))
    return 0


def measure(plan: PairPlan) -> list[PairedRates]:
    """Raises `ServerFailed` and `CospecError`."""
    drafters = yaml.safe_load(DEFAULT_SETTINGS.read_text(encoding="utf-8"))["drafters"]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        node = stack.enter_context(running_server("--models", *(f"drafter_{name}" for name in drafters)))
        settings = write_changed(remote(drafters, node), folder / "remote.yaml")
        urls = [stack.enter_context(running_server(*each)) for each in (("--settings", str(settings)), ())]
        far, near = (stack.enter_context(Client(url)) for url in urls)
        return measure_pair(far, near, MODES, plan)


def remote(drafters: list[str], url: str) -> dict[str, Any]:
    """Settings of a server all of whose drafters are at `url`."""
    return {"remote_drafters": {name: {"urls": [url]} for name in drafters}}


def write_report(rates: list[PairedRates], plan: PairPlan, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    environment = describe_environment(read_settings())
    result = {"rates": [{**asdict(each), "ratio": median(each.ratios)} for each in rates], **environment}
    (directory / "disaggregated.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    lines = (
        f"Machine: {environment['machine']['processor']}; {environment['settings']['dtype']}. "
        f"Greedy, {plan.max_tokens} tokens a request, {plan.repeats} interleaved pairs.\n\n"
    )
    (directory / "disaggregated.md").write_text(lines + as_markdown(rates, "over gRPC", "over BLS"), encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
