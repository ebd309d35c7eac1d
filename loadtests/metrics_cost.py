"""What the server's own metrics cost: two servers, one without them, in turn on the same requests."""

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

from cospec_client import Client, CospecError

from loadtests.bench_plan import OFF, Mode
from loadtests.paired import PairedRates, PairPlan, as_markdown, measure_pair
from loadtests.server_process import ServerFailed, running_server
from loadtests.settings_file import write_changed

MODES = (OFF, Mode("auto", "auto"))
REQUESTS = {1: 10, 32: 64}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.metrics_cost", description=__doc__)
    parser.add_argument("--repeats", type=int, default=20, help="pairs of cells (default: %(default)s)")
    parser.add_argument("--max-tokens", type=int, default=64, help="of a request (default: %(default)s)")
    options = parser.parse_args(arguments)
    plan = PairPlan(options.repeats, options.max_tokens, REQUESTS)
    try:
        rates = measure(plan)
    except (ServerFailed, CospecError) as error:
        print(f"metrics_cost: {error}", file=sys.stderr)
        return 1
    print(as_markdown(rates, "with metrics", "without"))
    return 0


def measure(plan: PairPlan) -> list[PairedRates]:
    """Raises `ServerFailed` and `CospecError`."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        silent = write_changed({"serving": {"metrics": False}}, folder / "silent.yaml")
        urls = [stack.enter_context(running_server(*arguments)) for arguments in ((), ("--settings", str(silent)))]
        measured, unmeasured = (stack.enter_context(Client(url)) for url in urls)
        return measure_pair(measured, unmeasured, MODES, plan)


if __name__ == "__main__":
    raise SystemExit(main())
