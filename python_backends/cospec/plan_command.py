"""`cospec-server plan`: what a load would need, simulated with this server's own scheduling."""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from cospec.config import Settings, SettingsError, load_settings, with_verifier
from cospec.engine.profiles import ProfileStore, profile_store
from cospec.simulation.arrivals import Arrival, TraceError, fitted, poisson, read_trace
from cospec.simulation.fleet import Outcome, Scenario, simulate
from cospec.speculation.cost_model import Learnt
from cospec.speculation.profiling import Profile
from cospec.speculation.request import InvalidRequest, SpeculationMode, slo_of
from cospec.speculation.slo import Slo

SIMULATED = 8  # replicas at most: of a larger fleet so many, with their share of the arrivals
MOST_REPLICAS = 16_384


class PlanError(ValueError):
    """What cannot be planned with; one sentence."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """But those of settings and models."""
    parser.description = (
        "Simulates the server's own round loop, controller and selection on what calls cost on this machine, in "
        "virtual time, over a trace or Poisson arrivals: throughput, latencies, share of requests that keep their "
        "promises, and with --attainment the number of replicas (a verifier and its drafters each) that a load needs. "
        "Where a server has served here, costs are those that it learnt, and else those of its profile, measured alone."
    )
    load = parser.add_argument_group("load")
    load.add_argument("--trace", type=Path, metavar="FILE", help="arrivals: Azure's CSV, Mooncake's JSONL, or such")
    load.add_argument("--speed", type=float, default=1.0, help="times as fast as the trace (default: %(default)s)")
    load.add_argument("--rate", type=float, default=2.0, help="without a trace: requests a second (%(default)s)")
    load.add_argument("--seconds", type=float, default=60.0, help="without a trace: of arrivals (%(default)s)")
    load.add_argument("--prompt-tokens", type=int, default=64, help="without a trace: mean (%(default)s)")
    load.add_argument("--output-tokens", type=int, default=64, help="without a trace: mean (%(default)s)")
    serving = parser.add_argument_group("serving")
    serving.add_argument("--speculation", default="auto", help="as in a request (default: %(default)s)")
    serving.add_argument("--acceptance", type=float, default=0.75, metavar="P", help=_ACCEPTANCE)
    serving.add_argument("--slo-class", default="standard", metavar="CLASSES", help=_CLASSES)
    serving.add_argument("--replicas", type=int, default=1, help="a verifier and its drafters each (%(default)s)")
    serving.add_argument("--attainment", type=float, metavar="SHARE", help="find the fewest replicas that reach it")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="costs, of another machine too (default: our own)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON")


_CLASSES = "of the settings' slo_classes: one, or several as in interactive=3,batch=1 (default: %(default)s)"
_ACCEPTANCE = "chance that a draft token is accepted, all before it being: 1 - 1/(mean acceptance length) (%(default)s)"


def run(options: argparse.Namespace) -> int:
    """Raises `SettingsError`."""
    try:
        scenario = _scenario(options)
        arrivals = _arrivals(options, scenario.settings)
        if options.attainment is None:
            replicas, outcome = options.replicas, outcome_of(scenario, arrivals, options.replicas)
        else:
            replicas, outcome = fewest(scenario, arrivals, options.attainment)
        _report(options, replicas, outcome, "profiled" if scenario.learnt is None else "learnt")
    except (TraceError, PlanError, InvalidRequest) as error:
        print(f"cospec-server: {error}", file=sys.stderr)
        return 2
    return 0


def outcome_of(scenario: Scenario, arrivals: Sequence[Arrival], replicas: int) -> Outcome:
    """A large fleet by a sample of it: a request goes to any of many replicas, so that each sees its share."""
    if replicas <= SIMULATED:
        return simulate(scenario, arrivals, replicas, progress=sys.stderr.isatty())
    share = SIMULATED / replicas
    sample = simulate(scenario, fitted(arrivals, 1.0, share, 10**9, scenario.seed), SIMULATED, sys.stderr.isatty())
    scaled = {name: getattr(sample, name) / share for name in ("tokens_per_second", "goodput")}
    return replace(sample, requests=len(arrivals), refused=round(sample.refused / share), **scaled)


def fewest(scenario: Scenario, arrivals: Sequence[Arrival], attainment: float) -> tuple[int, Outcome]:
    """The smallest fleet that keeps the promises of so many requests: doubled until it does, then bisected."""
    replicas, outcome = 1, outcome_of(scenario, arrivals, 1)
    while outcome.attainment < attainment:
        if replicas >= MOST_REPLICAS:
            raise PlanError(f"{MOST_REPLICAS} replicas reach {outcome.attainment:.1%}, not {attainment:.1%}")
        replicas *= 2
        outcome = outcome_of(scenario, arrivals, replicas)
    low, high = replicas // 2, replicas
    while high - low > 1:
        middle = (low + high) // 2
        tried = outcome_of(scenario, arrivals, middle)
        low, high, outcome = (low, middle, tried) if tried.attainment >= attainment else (middle, high, outcome)
    return high, outcome


def _scenario(options: argparse.Namespace) -> Scenario:
    settings = with_verifier(load_settings(options.settings), options.verifier_weights)
    for name, low, high in (("acceptance", 0.01, 0.99), ("attainment", 0.01, 1), ("replicas", 1, MOST_REPLICAS)):
        value = getattr(options, name)
        if value is not None and not low <= value <= high:
            raise PlanError(f"--{name} must be from {low} to {high}, got {value}")
    mode = SpeculationMode.parse(options.speculation, settings.drafters, settings.speculation.max_draft_tokens)
    slos = _slos(settings, options.slo_class)
    profile, learnt = _costs(options, settings)
    return Scenario(settings, profile, slos, mode, options.acceptance, options.seed, learnt)


def _costs(options: argparse.Namespace, settings: Settings) -> tuple[Profile, Learnt | None]:
    own = options.profile is None
    store = profile_store(settings, options.model_repository.resolve()) if own else ProfileStore(options.profile)
    profile = store.load()
    if profile is None:
        remedy = "run `cospec-server profile` first" if own else "it must be a file that `cospec-server profile` wrote"
        raise PlanError(f"{store.path} holds no cost profile; {remedy}")
    return profile, store.load_learnt()


def _slos(settings: Settings, text: str) -> dict[Slo, float]:
    """Each class's promises, and its share of the requests."""
    slos: dict[Slo, float] = {}
    for part in text.split(","):
        name, _, share = part.partition("=")
        if name not in settings.slo_classes:
            raise SettingsError(f"--slo-class must be one of {', '.join(settings.slo_classes)}, got {name!r}")
        slo = slo_of(settings.slo_classes[name], name)
        if slo in slos:
            raise PlanError(f"--slo-class must name each class once, got {text!r}")
        slos[slo] = _share(name, share or "1")
    return slos


def _share(name: str, text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 < share < math.inf:
        raise PlanError(f"--slo-class must give {name} a share above 0, got {text!r}")
    return share


def _arrivals(options: argparse.Namespace, settings: Settings) -> list[Arrival]:
    for name in ("speed", "rate", "seconds", "prompt_tokens", "output_tokens"):
        if not 0 < getattr(options, name) < math.inf:
            raise PlanError(f"--{name.replace('_', '-')} must be above 0, got {getattr(options, name)}")
    if options.seed < 0:
        raise PlanError(f"--seed must be at least 0, got {options.seed}")
    if options.trace is not None:
        arrivals = read_trace(options.trace)
    else:
        lengths = options.prompt_tokens, options.output_tokens
        arrivals = poisson(options.rate, options.seconds, *lengths, options.seed)
    room = settings.engine.verifier.max_length
    too_long = sum(each.prompt_tokens + each.output_tokens > room for each in arrivals)
    if too_long:
        print(f"cospec-server: {too_long} of {len(arrivals)} requests are cut to {room} tokens", file=sys.stderr)
    return fitted(arrivals, options.speed, 1.0, room, options.seed)


def _report(options: argparse.Namespace, replicas: int, outcome: Outcome, costs: str) -> None:
    if options.json:
        print(json.dumps({"replicas": replicas, "costs": costs, **asdict(outcome)}))
        return
    kept = ", ".join(f"{name or 'none'} {share:.1%}" for name, share in outcome.attainment_by_class.items())
    print(
        f"replicas              {replicas}: a verifier and its drafters each; costs as {costs}\n"
        f"requests              {outcome.requests}, {outcome.refused} of them refused\n"
        f"throughput            {outcome.tokens_per_second:.0f} tokens/s over {outcome.seconds:.0f} s\n"
        f"goodput               {outcome.goodput:.2f} requests/s; {outcome.attainment:.1%} keep their promises "
        f"({kept})\n"
        f"TTFT                  p50 {outcome.ttft_p50 * 1e3:.0f} ms, p99 {outcome.ttft_p99 * 1e3:.0f} ms\n"
        f"TPOT                  p50 {outcome.tpot_p50 * 1e3:.1f} ms, p99 {outcome.tpot_p99 * 1e3:.1f} ms\n"
        f"acceptance length     {_length(outcome.mean_acceptance_length)}"
    )


def _length(tokens: float | None) -> str:
    return "nobody drafted" if tokens is None else f"{tokens:.2f} tokens a drafted round"
