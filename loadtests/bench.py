"""`make bench`: every mode at every concurrency, interleaved and repeated, beside transformers on the same weights."""

import argparse
import json
import platform
import random
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from cospec_client import Client
from tqdm import tqdm

from loadtests.bench_plan import MAX_TOKENS, MODES, Cell, run_cell
from loadtests.bench_report import write_report
from loadtests.metrics import median_summary
from loadtests.server_process import running_server
from loadtests.workload import Prompt, mixed_prompts

RESULTS = Path(__file__).parent / "results"
CONCURRENCIES = (1, 8, 32)
REQUESTS_PER_CALLER = {1: 20, 8: 5, 32: 2}
Cells = dict[tuple[str, int], list[Cell]]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="of every cell (default: %(default)s)")
    parser.add_argument("--settings", type=Path, help="settings of the server (default: the shipped ones)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for bench.json, .md, .png")
    parser.add_argument("--seed", type=int, default=0, help="of the order of cells")
    options = parser.parse_args(arguments)
    with running_server(options.settings) as url, Client(url) as client:
        cells, baselines = measure(client, options.repeats, options.seed)
    steps = _subprocess_json("cospec.engine.benchmark", "--json")
    result = collect(cells, baselines, steps)
    write_report(result, options.output)
    print((options.output / "bench.md").read_text(encoding="utf-8"))
    return 0


def measure(client: Client, repeats: int, seed: int) -> tuple[Cells, list[dict[str, float]]]:
    """Each repeat runs all cells in a new order, then transformers: drift of the machine falls on all alike."""
    prompts = mixed_prompts()
    order = random.Random(seed)
    cells: Cells = {(mode.name, concurrency): [] for mode in MODES for concurrency in CONCURRENCIES}
    baselines = []
    for mode in MODES:
        run_cell(client, mode, 8, prompts[:8])  # warm-up
    progress = tqdm(total=repeats * (len(cells) + 1), desc="benchmark", unit="cell")
    for _ in range(repeats):
        shuffled = [(mode, concurrency) for mode in MODES for concurrency in CONCURRENCIES]
        order.shuffle(shuffled)
        for mode, concurrency in shuffled:
            cells[mode.name, concurrency].append(run_cell(client, mode, concurrency, _chosen(prompts, concurrency)))
            progress.update()
        baselines.append(_baselines(prompts[: REQUESTS_PER_CALLER[1]]))
        progress.update()
    progress.close()
    return cells, baselines


def collect(cells: Cells, baselines: list[dict[str, float]], steps: dict[str, float]) -> dict[str, Any]:
    """Everything that the report shows, as plain JSON."""
    return {
        "cells": [
            {
                "mode": mode,
                "concurrency": concurrency,
                **vars(median_summary([cell.summary for cell in repeats])),
                "identical": identical_share(repeats, cells["off", 1]),
            }
            for (mode, concurrency), repeats in cells.items()
        ],
        "baselines": {name: median(run[name] for run in baselines) for name in baselines[0]},
        "steps_ms": steps,
        "machine": {"processor": _processor(), "python": platform.python_version()},
        "versions": {name: version(name) for name in ("cospec", "torch", "transformers", "nvidia-pytriton")},
        "max_tokens": MAX_TOKENS,
    }


def identical_share(repeats: list[Cell], reference: list[Cell]) -> float:
    """Share of answers that are the text of `off` at concurrency 1."""
    expected = {prompt: text for cell in reference for prompt, text in cell.texts.items()}
    pairs = [(text, expected[prompt]) for cell in repeats for prompt, text in cell.texts.items() if prompt in expected]
    return sum(text == other for text, other in pairs) / len(pairs)


def _chosen(prompts: list[Prompt], concurrency: int) -> list[Prompt]:
    count = concurrency * REQUESTS_PER_CALLER[concurrency]
    return [prompts[index % len(prompts)] for index in range(count)]


def _baselines(prompts: list[Prompt]) -> dict[str, float]:
    lines = "\n".join(json.dumps({"domain": prompt.domain, "prompt": prompt.text}) for prompt in prompts)
    return _subprocess_json("loadtests.baselines", "--max-tokens", str(MAX_TOKENS), stdin=lines)


def _subprocess_json(module: str, *arguments: str, stdin: str = "") -> Any:
    """A process of its own, so that torch's threads are not there while the server is measured."""
    result = subprocess.run(
        [sys.executable, "-m", module, *arguments], input=stdin, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(result.stdout)


def _processor() -> str:
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()


if __name__ == "__main__":
    raise SystemExit(main())
