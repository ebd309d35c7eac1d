"""`make bench-adaptive`: how much to draft, decided by ours and by others' rules, from one request to overload.

A sweep of closed-loop concurrencies, then replays of bursty arrivals with promises to every request; each repeat in a
new order. Beside that: how well the server's cost model foretold its own rounds, and its simulator the replays.
"""

import argparse
import csv
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any, TypeVar

from cospec_client import CospecError
from tqdm import tqdm
from tritonclient.utils import InferenceServerException

from loadtests.adaptive_plan import AUTO, CONTENDERS, FIXED, FULL, OFF, PARTS, QUICK, AdaptivePlan, PairPlan
from loadtests.adaptive_replay import Answer, Replay, bursts, replay, summarize
from loadtests.adaptive_report import write_report
from loadtests.bench_options import add_extent, add_output, add_pairs, add_seed, add_verifier_weights, chosen_pairs
from loadtests.bench_plan import Mode
from loadtests.collab_cell import CollabCell, Server, run_collab_cell
from loadtests.collab_pair import servers_of, warm_up
from loadtests.collab_plan import ALONE
from loadtests.environment import describe_environment, read_settings
from loadtests.json_process import CommandFailed, json_of
from loadtests.metrics import median_summary, percentile
from loadtests.pairs import Pair, num_parameters
from loadtests.server_process import COSPEC_SERVER, ServerFailed
from loadtests.settings_file import write_changed
from loadtests.workload import MIXED, prompts_of

LEARNT_AFTER = 6.0  # seconds, in which the server writes down what it has learnt
PARTS_HELP = "only these; the others, and other pairs, stay as measured before on this machine (default: all)"

Result = dict[str, Any]
UNMEASURED: Result = {"sweep": [], "depths": [], "cost_errors": {}, "replays": []}
Cells = dict[tuple[Mode, int], list[CollabCell]]
Load = TypeVar("Load", int, float)  # callers at once, or requests a second


def main(arguments: list[str] | None = None) -> int:
    parser = build_parser()
    options = parser.parse_args(arguments)
    plan = (QUICK if options.quick else FULL).with_repeats(options.repeats)
    pairs = chosen_pairs(parser, options)
    order = random.Random(options.seed)
    try:
        environment = describe_environment(read_settings())
        found = {} if options.quick else earlier(options.output, environment)
        for pair in pairs:
            before = found.get(pair.name, UNMEASURED)
            found[pair.name] = {**before, **measure_pair(pair, plan, tuple(options.parts), order, before["sweep"])}
            write_report({"pairs": list(found.values()), **environment}, options.output)
    except (OSError, ValueError, ServerFailed, CospecError, CommandFailed, InferenceServerException) as error:
        print(f"bench-adaptive: {error}", file=sys.stderr)
        return 1
    print((options.output / "adaptive.md").read_text(encoding="utf-8"))
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtests.adaptive", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_extent(parser, "of every cell (default: 3 and 2; quick: 1)")
    add_verifier_weights(parser)
    add_pairs(parser)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help=PARTS_HELP)
    add_output(parser, "adaptive.json, .md and plots")
    add_seed(parser, "of the order of cells, and of arrivals")
    return parser


def earlier(output: Path, environment: Result) -> dict[str, Result]:
    """The pairs of the result that is there, if it is of this machine, these versions and settings: what is not now
    measured stays as it was."""
    try:
        result = json.loads((output / "adaptive.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    is_alike = all(result.get(name) == value for name, value in environment.items())
    return {pair["name"]: pair for pair in result["pairs"]} if is_alike else {}


def measure_pair(
    pair: Pair, plans: AdaptivePlan, parts: tuple[str, ...], order: random.Random, swept: list[Result]
) -> Result:
    """These parts of the pair's result, as plain JSON; `swept`: an earlier sweep's rows. Raises `CospecError`."""
    plan = plans.bundle if pair.is_bundle else plans.costly
    found: Result = {
        "name": pair.name,
        "num_parameters": num_parameters(pair.verifier),
        "max_tokens": plan.max_tokens,
        "replay_tokens": plan.replay_tokens,
        "promises_ms": {"ttft": plan.ttft * 1e3, "tpot": plan.tpot * 1e3},
    }
    with tempfile.TemporaryDirectory() as name, servers_of(pair, {}, {ALONE: {}}, Path(name)) as servers:
        server = servers[ALONE]
        warm_up([(server, mode) for mode in CONTENDERS], 8, 16)
        if "sweep" in parts:
            found |= sweep_result(sweep(server, plan, pair.name, order))
        if "replay" in parts:
            fixed = _best_fixed(found.get("sweep", swept))
            found["replays"] = replays(server, plan, pair, fixed, order)
    return found


def sweep_result(cells: Cells) -> Result:
    return {
        "sweep": [sweep_row(mode, level, repeats, cells) for (mode, level), repeats in cells.items()],
        "depths": depths(cells),
        "cost_errors": cost_errors(cells),
    }


def in_turns(modes: Sequence[Mode], loads: Sequence[Load], order: random.Random) -> list[tuple[Mode, Load]]:
    """At each load all modes one after another, so that they meet the same minutes of the machine."""
    return [(mode, load) for load in order.sample(loads, len(loads)) for mode in order.sample(modes, len(modes))]


def sweep(server: Server, plan: PairPlan, name: str, order: random.Random) -> Cells:
    cells: Cells = {}
    turns = [turn for _ in range(plan.repeats) for turn in in_turns(CONTENDERS, list(plan.prompts), order)]
    for mode, level in tqdm(turns, desc=f"{name}: sweep", unit="cell"):
        prompts = prompts_of(MIXED, plan.prompts[level])
        cell = run_collab_cell(server, mode, level, prompts, plan.max_tokens, varied=True)
        cells.setdefault((mode, level), []).append(cell)
    return cells


def sweep_row(mode: Mode, level: int, repeats: Sequence[CollabCell], cells: Cells) -> Result:
    expected, texts = cells[OFF, level][0].texts, [pair for cell in repeats for pair in cell.texts]
    return {
        "contender": mode.name,
        "concurrency": level,
        **vars(median_summary([cell.summary for cell in repeats])),
        "rates": [cell.summary.tokens_per_second for cell in repeats],
        "orchestrator_share": median(cell.cooperation.orchestrator_share for cell in repeats),
        "identical": sum(pair in expected for pair in texts) / len(texts),
    }


def _best_fixed(rows: Sequence[Result]) -> Mode:
    """The one with the greatest geometric mean over the sweep."""
    return max(FIXED, key=lambda mode: _geometric_rate(mode, rows)) if rows else FIXED[1]


def _geometric_rate(mode: Mode, rows: Sequence[Result]) -> float:
    return geometric_mean(row["tokens_per_second"] for row in rows if row["contender"] == mode.name)


def depths(cells: Cells) -> list[Result]:
    """Of ours: how much it drafted at which load."""
    return [
        {
            "concurrency": level,
            "drafted_share": _share(repeats, "drafted_rounds", "rounds"),
            "draft_tokens_per_round": _share(repeats, "num_draft_tokens", "rounds"),
        }
        for (mode, level), repeats in cells.items()
        if mode == AUTO
    ]


def _share(repeats: Sequence[CollabCell], part: str, whole: str) -> float:
    counted = [cell.totals for cell in repeats]
    return sum(each[part] for each in counted) / max(1, sum(each[whole] for each in counted))


def cost_errors(cells: Cells) -> Result:
    """Relative, over all rounds of all cells: each was foretold before it was learnt from."""
    errors = [
        abs(predicted - measured) / measured
        for repeats in cells.values()
        for cell in repeats
        for predicted, measured in cell.foretold
        if measured > 0
    ]
    return {"rounds": len(errors), "median": median(errors), "p90": percentile(errors, 0.9)} if errors else {}


def replays(server: Server, plan: PairPlan, pair: Pair, fixed: Mode, order: random.Random) -> list[Result]:
    prompts, rows = prompts_of(MIXED, 50), []
    turns = in_turns((OFF, fixed, AUTO), plan.rates, order)
    for mode, rate in tqdm(turns, desc=f"{pair.name}: replays", unit="replay"):
        dues = bursts(rate, plan.replay_seconds, prompts, plan.replay_tokens, seed=round(rate * 10))
        answers, seconds = replay(server.client, mode, dues, plan.ttft, plan.tpot)
        found = summarize(answers, seconds, plan.ttft, plan.tpot)
        measured = {name: value for name, value in asdict(found).items() if name != "texts"}
        rows.append(
            {"contender": mode.name, "rate": rate, **measured, "simulated": simulated(plan, pair, mode, answers, found)}
        )
    return sorted(rows, key=lambda row: (row["rate"], row["contender"]))


def simulated(plan: PairPlan, pair: Pair, mode: Mode, answers: Sequence[Answer], found: Replay) -> Result | None:
    """The same requests, by `cospec-server plan`, which is told how much was accepted; None where it cannot tell."""
    time.sleep(LEARNT_AFTER)
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.csv"
        promises = {"replay": {"ttft_ms": plan.ttft * 1e3, "tpot_ms": plan.tpot * 1e3}}
        settings = write_changed({"slo_classes": promises}, Path(folder) / "settings.yaml")
        with trace.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["arrival_s", "prompt_tokens", "output_tokens"])
            rows.writerows(
                [f"{each.due.at:.4f}", each.generation.num_input_tokens, each.due.max_tokens]
                for each in answers
                if each.generation is not None
            )
        acceptance = min(0.95, max(0.05, 1 - 1 / found.mean_acceptance_length))
        command = [COSPEC_SERVER, "plan", "--json", "--settings", str(settings), "--trace", str(trace)]
        told = ["--speculation", mode.speculation, "--acceptance", f"{acceptance:.3f}", "--slo-class", "replay"]
        try:
            planned = json_of([*command, *told, *pair.server_arguments], "the simulator")
        except CommandFailed:
            return None
    return {name: planned[name] for name in ("attainment", "goodput", "tokens_per_second", "tpot_p50")}


if __name__ == "__main__":
    raise SystemExit(main())
