"""What the server's own metrics cost: two servers, one without them, in turn on the same requests.

On a machine with other work the ratio of rates is coarse. What does not depend on that: the processor time that all the
server's processes spent on publishing, which the server counts itself.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path

from cospec_client import Client, CospecError

from loadtests.bench_plan import OFF, Mode
from loadtests.paired import PairedRates, PairPlan, as_markdown, measure_pair
from loadtests.server_process import ServerFailed, running_addresses
from loadtests.settings_file import write_changed
from loadtests.slo.server_metrics import changes, scrape

MODES = (OFF, Mode("auto", "auto"))
REQUESTS = {1: 10, 32: 64}
OWN_SECONDS = "cospec:metrics_cpu_seconds_total"
PUBLISHED = 2.0  # seconds after which the server has told all


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.metrics_cost", description=__doc__)
    parser.add_argument("--repeats", type=int, default=20, help="pairs of cells (default: %(default)s)")
    parser.add_argument("--max-tokens", type=int, default=64, help="of a request (default: %(default)s)")
    options = parser.parse_args(arguments)
    plan = PairPlan(options.repeats, options.max_tokens, REQUESTS)
    try:
        rates, publishing = measure(plan)
    except (ServerFailed, CospecError) as error:
        print(f"metrics_cost: {error}", file=sys.stderr)
        return 1
    print(as_markdown(rates, "with metrics", "without"))
    print(f"publishing took {1e3 * publishing / serving_seconds(rates, plan):.2f} ms of processor time a second served")
    return 0


def measure(plan: PairPlan) -> tuple[list[PairedRates], float]:
    """And the seconds of processor time that publishing took. Raises `ServerFailed` and `CospecError`."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        silent = write_changed({"serving": {"metrics": False}}, folder / "silent.yaml")
        measured = stack.enter_context(running_addresses())
        unmeasured = stack.enter_context(running_addresses("--settings", str(silent)))
        before = scrape(measured.metrics)
        clients = [stack.enter_context(Client(addresses.grpc)) for addresses in (measured, unmeasured)]
        rates = measure_pair(clients[0], clients[1], MODES, plan)
        time.sleep(PUBLISHED)
        grown = changes(before, scrape(measured.metrics))
    return rates, sum(value for series, value in grown.items() if series.startswith(OWN_SECONDS))


def serving_seconds(rates: list[PairedRates], plan: PairPlan) -> float:
    """Of the server with metrics, warm-up included."""
    tokens = {each: plan.requests[each.concurrency] * plan.max_tokens for each in rates}
    seconds = sum(tokens[each] / rate for each in rates for rate in each.first)
    return seconds * (plan.repeats + 1) / plan.repeats


if __name__ == "__main__":
    raise SystemExit(main())
