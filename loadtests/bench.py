"""`make bench`: every mode at every concurrency, interleaved and repeated, beside transformers on the same weights."""

import argparse
import json
import random
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from cospec_client import Client, CospecError
from tqdm import tqdm

from loadtests.bench_options import add_extent, add_output, add_seed
from loadtests.bench_plan import FULL, MODES, OFF, QUICK, Cell, Mode, Plan, run_cell
from loadtests.bench_report import write_report
from loadtests.environment import DEFAULT_SETTINGS, ServerSettings, describe_environment, read_settings
from loadtests.json_process import CommandFailed, json_of
from loadtests.metrics import median_summary
from loadtests.server_process import ServerFailed, server_at
from loadtests.workload import Prompt, mixed_prompts


@dataclass(frozen=True)
class Measurements:
    cells: dict[tuple[str, int], list[Cell]]  # (mode, concurrency) -> one cell a repeat
    expected: dict[str, str]  # prompt -> text of `off` at concurrency 1
    baselines: list[dict[str, float]]  # tokens per second, one a repeat


def main(arguments: list[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    plan = QUICK if options.quick else FULL
    plan = replace(plan, repeats=options.repeats or plan.repeats)
    try:
        settings = read_settings(options.settings)
        with server_at(options.url, "--settings", str(options.settings)) as url, Client(url) as client:
            measurements = measure(client, plan, options.seed, settings)
        environment = {"COSPEC_SETTINGS": str(options.settings.resolve())}
        steps = _subprocess_json("cospec.engine.benchmark", "--json", environment=environment)
        gaps = _gaps(differences(measurements), environment)
    except (ServerFailed, CospecError, CommandFailed) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    result = collect(measurements, steps, gaps, plan, describe_environment(settings))
    write_report(result, options.output)
    print((options.output / "bench.md").read_text(encoding="utf-8"))
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench", description=__doc__)
    add_extent(parser, f"of every cell (default: {FULL.repeats}; quick: {QUICK.repeats})")
    parser.add_argument("--url", help="gRPC address of a running server (default: start one)")
    parser.add_argument(
        "--settings", type=Path, default=DEFAULT_SETTINGS, help="settings of the server (default: the shipped ones)"
    )
    add_output(parser, "bench.json, .md, .png")
    add_seed(parser)
    return parser


def measure(client: Client, plan: Plan, seed: int, settings: ServerSettings) -> Measurements:
    """Each repeat runs all cells in a new order, then transformers: drift of the machine falls on all alike."""
    prompts = mixed_prompts()
    order = random.Random(seed)
    pairs = [(mode, concurrency) for mode in MODES for concurrency in plan.requests_per_caller]
    cells: dict[tuple[str, int], list[Cell]] = {(mode.name, concurrency): [] for mode, concurrency in pairs}
    expected = _warm_up(client, plan, prompts)
    baselines = []
    with tqdm(total=plan.repeats * (len(pairs) + 1), desc="benchmark", unit="cell") as progress:
        for _ in range(plan.repeats):
            for mode, concurrency in _shuffled(order, pairs):
                chosen = plan.prompts(prompts, concurrency)
                cells[mode.name, concurrency].append(run_cell(client, mode, concurrency, chosen, plan.max_tokens))
                progress.update()
            baselines.append(_baselines(plan.prompts(prompts, 1), plan.max_tokens, settings))
            progress.update()
    return Measurements(cells, expected, baselines)


def collect(
    measurements: Measurements, steps: dict[str, float], gaps: list[float], plan: Plan, environment: dict[str, Any]
) -> dict[str, Any]:
    """Everything that the report shows, as plain JSON."""
    baselines = measurements.baselines
    return {
        "cells": [
            {
                "mode": mode,
                "concurrency": concurrency,
                **vars(median_summary([cell.summary for cell in repeats])),
                "identical": identical_share(repeats, measurements.expected),
            }
            for (mode, concurrency), repeats in measurements.cells.items()
        ],
        "baselines": {name: median(run[name] for run in baselines) for name in baselines[0]},
        "steps_ms": steps,
        "gaps": gaps,
        "max_tokens": plan.max_tokens,
        "repeats": plan.repeats,
        **environment,
    }


def identical_share(repeats: list[Cell], expected: dict[str, str]) -> float:
    """Share of all answers that are the text of `off` at concurrency 1."""
    return sum(cell.num_identical(expected) for cell in repeats) / sum(len(cell.texts) for cell in repeats)


def differences(measurements: Measurements) -> list[dict[str, str]]:
    """Every answer that is not the text of `off` at concurrency 1, once."""
    pairs = {pair for repeats in measurements.cells.values() for cell in repeats for pair in cell.texts}
    return [
        {"prompt": prompt, "other": text} for prompt, text in sorted(pairs) if text != measurements.expected[prompt]
    ]


def _gaps(pairs: list[dict[str, str]], environment: Mapping[str, str]) -> list[float]:
    """Between the two best logits, where each pair parts."""
    lines = "\n".join(map(json.dumps, pairs))
    return list(_subprocess_json("cospec.engine.near_ties", stdin=lines, environment=environment)["gaps"])


def _warm_up(client: Client, plan: Plan, prompts: list[Prompt]) -> dict[str, str]:
    """Every mode in a small batch; then every prompt once with `off`, alone: the texts that the others must have."""
    for mode in MODES:
        run_cell(client, mode, 8, prompts[:8], plan.max_tokens)
    return dict(run_cell(client, OFF, 1, prompts, plan.max_tokens).texts)


def _shuffled(order: random.Random, pairs: list[tuple[Mode, int]]) -> list[tuple[Mode, int]]:
    return order.sample(pairs, len(pairs))


def _baselines(prompts: list[Prompt], max_tokens: int, settings: ServerSettings) -> dict[str, float]:
    lines = "\n".join(json.dumps({"domain": prompt.domain, "prompt": prompt.text}) for prompt in prompts)
    threads = str(settings.num_threads)
    arguments = ["--max-tokens", str(max_tokens), "--threads", threads, "--dtype", settings.dtype]
    return _subprocess_json("loadtests.transformers_rates", *arguments, stdin=lines)


def _subprocess_json(
    module: str, *arguments: str, stdin: str = "", environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What a module prints, from a process of its own: torch's threads are gone while the server is measured."""
    return json_of([sys.executable, "-m", module, *arguments], module, stdin=stdin, environment=environment)


if __name__ == "__main__":
    raise SystemExit(main())
