"""`make bench-peers`: CoSpec beside OpenVINO GenAI and transformers, same weights, same prompts, in one run.

Engines take turns, never two at a time; the server that waits uses no processor. A scan finds each engine's best draft
length first; then every repeat measures all that go on.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from statistics import median
from typing import Any

from cospec_client import Client, CospecError
from tqdm import tqdm

from loadtests.bench import identical_share
from loadtests.bench_options import add_extent, add_output, add_verifier_weights
from loadtests.bench_plan import Cell
from loadtests.environment import DEFAULT_SETTINGS, ServerSettings, describe_environment, read_settings
from loadtests.json_process import CommandFailed, json_of
from loadtests.metrics import median_summary
from loadtests.pairs import Pair, bundle_and, num_parameters
from loadtests.peer_plan import COSPEC, FULL, OPENVINO, OPENVINO_INT8, QUICK, Contender, PeerPlan, finalists
from loadtests.peer_report import write_report
from loadtests.peer_systems import PEER_PYTHON, CoSpec, OpenVino, System, convert
from loadtests.server_process import ServerFailed, server_at
from loadtests.workload import mixed_prompts, take

Rates = dict[tuple[Contender, int], float]
Cells = dict[tuple[Contender, int], list[Cell]]


def main(arguments: list[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    plan = QUICK if options.quick else FULL
    plan = replace(plan, repeats=options.repeats or plan.repeats)
    pairs = bundle_and(options.verifier_weights)
    try:
        settings = read_settings()
        measured = [measure_pair(pair, plan, settings, options.peers_only) for pair in pairs]
    except (ServerFailed, CospecError, CommandFailed) as error:
        print(f"bench-peers: {error}", file=sys.stderr)
        return 1
    result = {"pairs": measured, "max_tokens": plan.max_tokens, "repeats": plan.repeats}
    write_report({**result, **describe_environment(settings)}, options.output)
    print((options.output / "peers.md").read_text(encoding="utf-8"))
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtests.peers", description=__doc__)
    add_extent(parser, f"of every measurement (default: {FULL.repeats})")
    add_verifier_weights(parser, "to compare on")
    parser.add_argument("--peers-only", action="store_true", help="without CoSpec; texts are held against OpenVINO's")
    add_output(parser, "peers.json, .md, .png")
    return parser


def measure_pair(pair: Pair, plan: PeerPlan, settings: ServerSettings, peers_only: bool) -> dict[str, Any]:
    """One pair's part of the result. Raises ServerFailed, CospecError or CommandFailed."""
    if not PEER_PYTHON.exists():
        raise CommandFailed(f"{PEER_PYTHON} is missing: `make bench-peers` makes it")
    tqdm.write(f"{pair.name}: converting to OpenVINO, once")
    openvino = OpenVino(convert(pair.name, pair.verifier), pair.verifier)
    systems: dict[str, System] = {OPENVINO: openvino}
    with ExitStack() as stack:
        if not peers_only:
            url = stack.enter_context(server_at(None, "--settings", str(DEFAULT_SETTINGS), *pair.server_arguments))
            systems = {COSPEC: CoSpec(stack.enter_context(Client(url))), **systems}
        scanned = scan(systems, plan, pair.name)
        chosen = {
            (system, concurrency): finalists(system, _rates_of(scanned, system, concurrency))
            for system in systems
            for concurrency in plan.num_prompts
        }
        systems[OPENVINO_INT8] = OpenVino(convert(pair.name, pair.verifier, "int8"), pair.verifier)
        chosen |= {(OPENVINO_INT8, concurrency): [Contender(OPENVINO_INT8)] for concurrency in plan.num_prompts}
        cells, baselines = repeat(systems, chosen, plan, pair, settings)
    return {
        "name": pair.name,
        "num_parameters": num_parameters(pair.verifier),
        "reference": next(iter(systems)),
        "rows": rows(cells, expected_texts(cells, next(iter(systems)))),
        "transformers": {name: median(run[name] for run in baselines) for name in baselines[0]},
        "scan": [
            {**_named(contender, concurrency), "tokens_per_second": rate}
            for (contender, concurrency), rate in scanned.items()
        ],
        "peer_versions": openvino.versions,
    }


def scan(systems: Mapping[str, System], plan: PeerPlan, name: str) -> Rates:
    """Tokens per second of every drafter at every draft length, once, on a few prompts."""
    rates: Rates = {}
    turns = [(system, concurrency) for system in systems for concurrency in plan.num_scanned]
    for system, concurrency in tqdm(turns, desc=f"{name}: best k", unit="turn"):
        contenders = plan.scanned(system, concurrency)
        prompts = take(mixed_prompts(), plan.num_scanned[concurrency])
        cells = systems[system].run(contenders, concurrency, prompts, plan.max_tokens)
        for contender, cell in zip(contenders, cells, strict=True):
            rates[contender, concurrency] = cell.summary.tokens_per_second
    return rates


def repeat(
    systems: Mapping[str, System],
    chosen: Mapping[tuple[str, int], list[Contender]],
    plan: PeerPlan,
    pair: Pair,
    settings: ServerSettings,
) -> tuple[Cells, list[dict[str, float]]]:
    """All that go on, engine after engine, again and again: drift of the machine falls on all alike."""
    cells: Cells = {}
    baselines = []
    with tqdm(total=plan.repeats * (len(chosen) + 1), desc=f"{pair.name}: measuring", unit="turn") as progress:
        for _ in range(plan.repeats):
            for (system, concurrency), contenders in chosen.items():
                prompts = take(mixed_prompts(), plan.num_prompts[concurrency])
                measured = systems[system].run(contenders, concurrency, prompts, plan.max_tokens)
                for contender, cell in zip(contenders, measured, strict=True):
                    cells.setdefault((contender, concurrency), []).append(cell)
                progress.update()
            baselines.append(transformers_rates(pair, plan, settings))
            progress.update()
    return cells, baselines


def transformers_rates(pair: Pair, plan: PeerPlan, settings: ServerSettings) -> dict[str, float]:
    """Tokens per second, one request at a time, plain and with the drafter of the prompt's own domain."""
    prompts = take(mixed_prompts(), plan.num_prompts[1])
    lines = "\n".join(json.dumps({"domain": prompt.domain, "prompt": prompt.text}) for prompt in prompts)
    limits = ["--max-tokens", str(plan.max_tokens), "--threads", str(settings.num_threads), "--dtype", settings.dtype]
    module = "loadtests.transformers_rates"
    return json_of([sys.executable, "-m", module, *limits, "--verifier", str(pair.verifier)], module, stdin=lines)


def expected_texts(cells: Cells, system: str) -> dict[str, str]:
    """prompt -> text of `system` without a drafter; that of one request at a time where there is one."""
    plain = [cells[Contender(system), concurrency][0] for concurrency in (8, 1)]
    return {prompt: text for cell in plain for prompt, text in cell.texts}


def rows(cells: Cells, expected: dict[str, str]) -> list[dict[str, Any]]:
    """Medians over repeats, as plain JSON."""
    return [
        {
            **_named(contender, concurrency),
            **vars(median_summary([cell.summary for cell in repeats])),
            "identical": identical_share(repeats, expected),
        }
        for (contender, concurrency), repeats in cells.items()
    ]


def _named(contender: Contender, concurrency: int) -> dict[str, Any]:
    return {**vars(contender), "contender": contender.name, "concurrency": concurrency}


def _rates_of(rates: Rates, system: str, concurrency: int) -> dict[Contender, float]:
    return {
        contender: rate
        for (contender, level), rate in rates.items()
        if (contender.system, level) == (system, concurrency)
    }


if __name__ == "__main__":
    raise SystemExit(main())
