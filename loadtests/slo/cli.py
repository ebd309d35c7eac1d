"""`python -m loadtests`: load tests with objectives, from a terminal."""

import argparse
import json
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cospec_client import CospecError

from loadtests.bad_input import BadInput
from loadtests.generator.plan import Plan, add_plan_options, check_plan, plan_of
from loadtests.server_process import ServerFailed
from loadtests.slo.comparison import as_html, as_text, read_runs
from loadtests.slo.generate import GeneratorFailed, environment, locust_command
from loadtests.slo.guard import BASELINES, learn
from loadtests.slo.run import new_folder, run, say
from loadtests.slo.server import ServerChoice, check_choice, measured_server
from loadtests.slo.sweep import SweepPlan, sweep
from loadtests.telling import tell

OUTPUT = Path("build/loadtest")
BASELINE = BASELINES / "loadtest.json"
EXAMPLES = """examples:
  python -m loadtests run                                              two minutes on a server of its own
  python -m loadtests run --url localhost:8001 --rate 20 --speculation off
  python -m loadtests run --arrivals gamma:burstiness=0.2 --rate 8     bursts; also diurnal, step, spike, soak
  python -m loadtests run --arrivals trace:azure.csv,skip=600 --rate 4 replay, scaled to 4 requests a second
  python -m loadtests run --arrivals closed --users 16 --protocol grpc
  python -m loadtests sweep --verifier-weights build/verifier_03b      the knee of off, fixed lengths, auto
  python -m loadtests compare build/loadtest/A build/loadtest/B
  python -m loadtests ui                                               Locust's web UI, on port 8089

arrivals:
  constant, poisson            at --rate; soak is poisson, for a long --duration: its report tells the drift
  gamma:burstiness=0.25        gaps as uneven as that: 1 is poisson, less comes in bursts
  diurnal:depth=0.8,periods=1  the rate goes from 1 - depth to 1 + depth times --rate and back
  step:levels=4                up to --rate in equal steps
  spike:height=4,at=0.5,width=0.1   so many times --rate, in the middle, for a tenth of the time
  trace:FILE,skip=0,speed=0    Azure's .csv or Mooncake's .jsonl, at --rate on average, or speed times as fast
  closed                       --users callers, each asking again when it has its answer

exit codes:
  0  the gate of the objectives is passed
  1  it is missed, the run is invalid, or the server failed
  2  a value must change; no load was sent"""


def main(arguments: list[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    try:
        action: Callable[[argparse.Namespace], int] = options.action
        return action(options)
    except BadInput as error:
        tell(str(error))
        return 2
    except (ServerFailed, GeneratorFailed, CospecError, OSError) as error:
        tell(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests",
        description="Load tests: are the objectives met at this load, and where is the knee?",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands.add_parser("run", help="one run, judged by the gate, with its report"))
    _add_sweep(commands.add_parser("sweep", help="the highest rate that attains, for each way to speculate"))
    _add_compare(commands.add_parser("compare", help="runs side by side"))
    _add_learn(commands.add_parser("learn", help="a baseline for the regression guard, from repeats of a run"))
    _add_ui(commands.add_parser("ui", help="Locust's web UI, with our columns and a live report"))
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    _add_load(parser)
    parser.add_argument(
        "--baseline",
        type=Path,
        default=BASELINE if BASELINE.is_file() else None,
        metavar="FILE",
        help="ratios that the run is held against (default: loadtests/baselines/loadtest.json)",
    )
    parser.set_defaults(action=_run)


def _add_sweep(parser: argparse.ArgumentParser) -> None:
    _add_load(parser)
    defaults = SweepPlan()
    parser.set_defaults(action=_sweep, duration=20.0, warm_up=4.0, grace=10.0)
    parser.add_argument(
        "--target", type=float, default=defaults.target, help="attainment to keep (default: %(default)s)"
    )
    parser.add_argument("--start", type=float, default=defaults.start, help="first rate tried (default: %(default)s)")
    parser.add_argument(
        "--precision", type=float, default=defaults.precision, help="relative, of the knee (default: %(default)s)"
    )
    parser.add_argument(
        "--attempts",
        type=int,
        default=defaults.attempts,
        help="trials of a rate, most of which decide (default: %(default)s)",
    )
    parser.add_argument(
        "--fixed", type=int, nargs="*", default=list(defaults.fixed), metavar="K", help="draft lengths (default: 2 4 8)"
    )
    parser.add_argument(
        "--by",
        nargs="+",
        default=list(defaults.by),
        metavar="WHO",
        help="who drafts these: routed (whom the server finds), own (each prompt's own drafter, which the server is "
        "told), or a drafter's name, for every prompt (default: routed)",
    )
    parser.add_argument(
        "--untold",
        action="store_true",
        help="these once more for requests that do not tell their promises, as engines are asked that know of none",
    )


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a run, or its result.json")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page with charts")
    parser.set_defaults(action=_compare)


def _add_learn(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of repeats of the same run")
    parser.add_argument(
        "--baseline", type=Path, default=BASELINE, metavar="FILE", help="to write (default: %(default)s)"
    )
    parser.set_defaults(action=_learn)


def _add_ui(parser: argparse.ArgumentParser) -> None:
    _add_load(parser)
    parser.add_argument("--web-port", type=int, default=8089, help="of the web UI (default: %(default)s)")
    parser.set_defaults(action=_ui)


def _add_load(parser: argparse.ArgumentParser) -> None:
    server = parser.add_argument_group("server", "Without --url one is started on free ports, and ended.")
    server.add_argument("--url", metavar="HOST:PORT", help="gRPC address of a running server")
    server.add_argument("--http-url", metavar="HOST:PORT", help="its HTTP address (default: the port before)")
    server.add_argument("--metrics-url", metavar="HOST:PORT", help="its metrics' address (default: the port after)")
    server.add_argument(
        "--settings", type=Path, metavar="FILE", help="settings of the server (default: the shipped ones)"
    )
    server.add_argument(
        "--verifier-weights", type=Path, metavar="DIR", help="checkpoint to serve instead of the bundled one"
    )
    add_plan_options(parser.add_argument_group("load"))
    parser.add_argument("--workers", type=int, default=1, help="processes that send (default: %(default)s)")
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, help="where a run's folder is made (default: %(default)s)"
    )


def _run(options: argparse.Namespace) -> int:
    plan = plan_of(options)
    folder = new_folder(options.output, f"{plan.arrivals.partition(':')[0]}-{plan.speculation}")
    return run(plan, _choice(options), folder, _workers(options), options.baseline)


def _sweep(options: argparse.Namespace) -> int:
    names = ("target", "start", "precision", "attempts", "untold")
    lengths, who = tuple(options.fixed), tuple(options.by)
    how = SweepPlan(fixed=lengths, by=who, **{name: getattr(options, name) for name in names})
    return sweep(plan_of(options), how, _choice(options), new_folder(options.output, "sweep"), _workers(options))


def _compare(options: argparse.Namespace) -> int:
    if len(options.runs) < 2:
        raise BadInput("compare needs at least two runs")
    runs = read_runs(options.runs)
    print(as_text(runs))
    if options.html is not None:
        options.html.write_text(as_html(runs), encoding="utf-8")
        print(f"page: {options.html}")
    return 0


def _learn(options: argparse.Namespace) -> int:
    baseline = learn([each.result for each in read_runs(options.runs)])
    options.baseline.parent.mkdir(parents=True, exist_ok=True)
    options.baseline.write_text(json.dumps(baseline, indent=2) + "\n", encoding="utf-8")
    for name, learnt in baseline["ratios"].items():
        print(f"{name:45} {learnt['value']:8.2f}  ±{learnt['tolerance']:.0%}")
    return 0


def _ui(options: argparse.Namespace) -> int:
    plan, choice = plan_of(options), _choice(options)
    check_plan(plan)
    check_choice(choice)
    _check_port(options.web_port)
    with measured_server(choice) as addresses:
        command = [
            *locust_command(plan, addresses),
            f"--web-port={options.web_port}",
            f"--users={_users(plan, options)}",
        ]
        say(f"open http://localhost:{options.web_port}; its /report is the live report")
        return subprocess.run([*command, f"--output={options.output}"], env=environment()).returncode


def _check_port(port: int) -> None:
    try:
        with socket.create_server(("", port)):
            pass
    except (OSError, OverflowError) as error:
        raise BadInput(
            f"--web-port {port} cannot be listened on: {getattr(error, 'strerror', None) or error}"
        ) from None


def _users(plan: Plan, options: argparse.Namespace) -> int:
    return plan.users if plan.is_closed else _workers(options)


def _workers(options: argparse.Namespace) -> int:
    if not 1 <= options.workers <= 256:
        raise BadInput(f"--workers must be from 1 to 256, got {options.workers}")
    return int(options.workers)


def _choice(options: argparse.Namespace) -> ServerChoice:
    names: Sequence[str] = ("url", "http_url", "metrics_url", "settings", "verifier_weights")
    values: dict[str, Any] = {name: getattr(options, name) for name in names}
    return ServerChoice(**values)
