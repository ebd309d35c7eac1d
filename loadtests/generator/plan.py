"""A load test as one value, and its options: the same for `python -m loadtests` and for `locust -f`."""

import argparse
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from loadtests.bad_input import BadInput
from loadtests.generator.arrivals import CLOSED, OPTIONS, TRACE, parse_arrivals
from loadtests.generator.traces import read_trace
from loadtests.objectives import DEFAULT_OBJECTIVES, Objectives, load_objectives
from loadtests.workload import DOMAINS, MIXED

GRPC, HTTP_STREAM, HTTP = "grpc", "http-stream", "http"
PROTOCOLS = (GRPC, HTTP_STREAM, HTTP)
TOLD, UNTOLD = "told", "untold"
PROMISES = (TOLD, UNTOLD)
CHARACTERS_PER_TOKEN = 2.5  # of the bundle's tokenizer on the repository's densest prompts


@dataclass(frozen=True)
class Plan:
    """What is sent. Rates per second, times in seconds, lengths in tokens."""

    arrivals: str = "poisson"
    rate: float = 6.0
    users: int = 8
    duration: float = 72.0
    warm_up: float = 8.0
    grace: float = 30.0
    workload: str = MIXED
    mix: str = ""
    max_tokens: int = 0
    temperature: float = 0.0
    speculation: str = "auto"
    protocol: str = HTTP_STREAM
    context: int = 1024
    characters_per_token: float = CHARACTERS_PER_TOKEN
    load_seed: int = 0
    slo: str = str(DEFAULT_OBJECTIVES)
    slo_scale: float = 1.0
    promises: str = TOLD

    @property
    def is_closed(self) -> bool:
        return parse_arrivals(self.arrivals).kind == CLOSED

    @property
    def end(self) -> float:
        """When the last request may be sent."""
        return self.warm_up + self.duration

    def objectives(self) -> Objectives:
        """Raises `BadInput`."""
        return load_objectives(Path(self.slo)).scaled(self.slo_scale)

    def arguments(self) -> list[str]:
        """As options that make this plan again."""
        pairs = ((_option(name), value) for name, value in asdict(self).items())
        return [f"{option}={value}" for option, value in pairs]


HELP: Mapping[str, str] = {
    "arrivals": f"when requests are sent: {', '.join(OPTIONS)}, with options as in gamma:burstiness=0.5; closed: "
    "a user asks again once it has its answer; trace:FILE replays Azure's .csv or Mooncake's .jsonl",
    "rate": "mean requests per second of an open loop; a trace's time is scaled to it, unless it names its own speed=",
    "users": "callers of a closed loop",
    "duration": "seconds that count",
    "warm_up": "seconds of load before them, at the same rate, that do not count",
    "grace": "seconds after the last request in which answers may still come; what comes later is a miss",
    "workload": f"domain of the prompts: {', '.join((*DOMAINS, MIXED))}",
    "mix": "shares of classes, as in interactive=3,batch=1 (default: those of the objectives)",
    "max_tokens": "tokens of every answer (0: as the request's class or the trace says)",
    "temperature": "of every request",
    "speculation": "how to draft, as the server's input says; {domain} stands for the prompt's own",
    "protocol": f"how to ask: {', '.join(PROTOCOLS)}; http is generate, whose first token comes with the last; "
    "http-stream takes the least of a machine that the server shares",
    "context": "tokens of prompt and answer that the model holds; a trace's lengths are scaled to fit",
    "characters_per_token": "of prompts that are made as long as a trace says (python -m loadtests measures it)",
    "load_seed": "of schedule, prompts and classes",
    "slo": "objectives and gate",
    "slo_scale": "times every promised time: below 1 is stricter",
    "promises": f"whether requests tell the server what they are promised: {' or '.join(PROMISES)}, as engines are "
    "asked that know of none",
}


def add_plan_options(parser: Any, but: tuple[str, ...] = ()) -> None:
    """To argparse's parser, or to Locust's, which has some of them itself."""
    for item in fields(Plan):
        if item.name in but:
            continue
        parser.add_argument(
            _option(item.name),
            type=type(item.default),
            default=item.default,
            metavar=item.name.upper(),
            help=HELP[item.name] + ("" if item.default == "" else " (default: %(default)s)"),
        )


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan in parsed options, checked; raises `BadInput`."""
    plan = Plan(**{item.name: getattr(options, item.name) for item in fields(Plan)})
    check_plan(plan)
    return plan


def check_plan(plan: Plan) -> Objectives:
    """Everything that can be known before a request is sent: the objectives, or `BadInput`."""
    for name, low, high in _BOUNDS:
        value = getattr(plan, name)
        if not (math.isfinite(value) and low <= value <= high):
            raise BadInput(f"{_option(name)} must be from {low:g} to {high:g}, got {value:g}")
    if plan.workload not in (*DOMAINS, MIXED):
        raise BadInput(
            f"--workload names the unknown domain {plan.workload!r}; domains: {', '.join((*DOMAINS, MIXED))}"
        )
    if plan.protocol not in PROTOCOLS:
        raise BadInput(f"--protocol must be one of {', '.join(PROTOCOLS)}, got {plan.protocol!r}")
    if plan.promises not in PROMISES:
        raise BadInput(f"--promises must be one of {', '.join(PROMISES)}, got {plan.promises!r}")
    objectives = plan.objectives()
    class_shares(plan, objectives)
    arrivals = parse_arrivals(plan.arrivals)
    if arrivals.kind == TRACE and arrivals.path is not None:
        read_trace(arrivals.path)
    return objectives


def class_shares(plan: Plan, objectives: Objectives) -> dict[str, float]:
    """Class -> weight of its requests; raises `BadInput`."""
    if not plan.mix:
        return {objective.name: objective.share for objective in objectives.classes}
    shares = dict(_share(word, objectives) for word in plan.mix.split(","))
    if not sum(shares.values()):
        raise BadInput(f"--mix must have a share above 0, got {plan.mix!r}")
    return shares


def _share(word: str, objectives: Objectives) -> tuple[str, float]:
    name, _, value = word.strip().partition("=")
    if name not in objectives.names:
        raise BadInput(f"--mix names the unknown class {name!r}; classes: {', '.join(objectives.names)}")
    try:
        share = float(value or 1)
    except ValueError:
        share = -1.0
    if not 0 <= share < math.inf:
        raise BadInput(f"--mix must give {name} a share of at least 0, got {value!r}")
    return name, share


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


_BOUNDS = (
    ("rate", 0.001, 100_000),
    ("users", 1, 100_000),
    ("duration", 1, 1_000_000),
    ("warm_up", 0, 100_000),
    ("grace", 0, 100_000),
    ("max_tokens", 0, 1_000_000),
    ("temperature", 0, 100),
    ("context", 16, 10_000_000),
    ("characters_per_token", 0.1, 100),
    ("load_seed", 0, 2**63),
    ("slo_scale", 0.01, 100),
)
