"""One call to the verifier for each sequence, or one for each group: Triton's batcher merges either."""

import random
from pathlib import Path
from typing import Any

from tqdm import tqdm

from loadtests.bench_plan import Mode
from loadtests.collab_cell import CollabCell, run_collab_cell
from loadtests.collab_pair import Servers, figures, servers_of, warm_up
from loadtests.collab_plan import BLS_SERVERS, OFF, CollabPlan, tree
from loadtests.pairs import Pair
from loadtests.workload import MIXED, prompts_of

Turn = tuple[str, Mode, int]  # server, contender, concurrency


def measure_bls(pair: Pair, plan: CollabPlan, order: random.Random, folder: Path) -> list[dict[str, Any]]:
    """Raises ServerFailed or CospecError."""
    contenders = (OFF, tree(plan.bundle.depth))
    with servers_of(pair, {}, BLS_SERVERS, folder) as servers:
        warm_up([(server, each) for server in servers.values() for each in contenders], 8, plan.bls_tokens)
        return bls_rows(_repeat(servers, contenders, plan, order))


def _repeat(
    servers: Servers, contenders: tuple[Mode, ...], plan: CollabPlan, order: random.Random
) -> dict[Turn, list[CollabCell]]:
    turns = [(name, each, level) for name in servers for each in contenders for level in plan.bls_prompts]
    cells: dict[Turn, list[CollabCell]] = {turn: [] for turn in turns}
    shuffled = [turn for _ in range(plan.bundle.repeats) for turn in order.sample(turns, len(turns))]
    for name, contender, concurrency in tqdm(shuffled, desc="calls to the verifier", unit="cell"):
        prompts = prompts_of(MIXED, plan.bls_prompts[concurrency])
        cell = run_collab_cell(servers[name], contender, concurrency, prompts, plan.bls_tokens)
        cells[name, contender, concurrency].append(cell)
    return cells


def bls_rows(cells: dict[Turn, list[CollabCell]]) -> list[dict[str, Any]]:
    """Medians over repeats, as plain JSON; what is to be compared stands together."""
    return [
        {"calls": name, "contender": contender.name, "concurrency": concurrency, **figures(repeats)}
        for (name, contender, concurrency), repeats in sorted(
            cells.items(), key=lambda item: (item[0][1].name, item[0][2])
        )
    ]
