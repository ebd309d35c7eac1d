"""What trees bring where the verifier checks all that is drafted, whatever it costs: tokens a pass, not time.

On a few cores every node costs arithmetic, so that `auto` keeps trees small there. How many tokens they bring depends
on the models alone, and is the same with every verifier that says the same.
"""

from pathlib import Path
from typing import Any

from tqdm import tqdm

from loadtests.collab_cell import Server, run_collab_cell
from loadtests.collab_pair import servers_of
from loadtests.collab_plan import ONE_DRAFTER, TREE_SIZES, CollabPlan, Contender, routed, unpriced, unpriced_servers
from loadtests.pairs import Pair
from loadtests.workload import MIXED, prompts_of


def measure_nodes(pair: Pair, plan: CollabPlan, folder: Path) -> list[dict[str, Any]]:
    """Of the routed chain, then of each contender and size of trees, as plain JSON.

    Raises ServerFailed or CospecError.
    """
    depth = plan.bundle.depth
    found: list[dict[str, Any]] = []
    for size in tqdm(TREE_SIZES, desc="nodes that are not priced", unit="size"):
        with servers_of(pair, {}, unpriced_servers(*size), folder) as servers:
            if not found:
                found.append(_row(routed(depth), depth, servers[ONE_DRAFTER], plan))
            found += [_row(each, size[0], servers[each.server], plan) for each in unpriced(depth)]
    return found


def _row(contender: Contender, num_nodes: int, server: Server, plan: CollabPlan) -> dict[str, Any]:
    prompts = prompts_of(MIXED, plan.routing_prompts)
    cell = run_collab_cell(server, contender, 1, prompts, plan.bundle.max_tokens)
    return {
        "contender": contender.name,
        "most_nodes": num_nodes,
        "nodes": cell.totals["num_draft_tokens"] / max(1, cell.totals["drafted_rounds"]),
        "mean_acceptance_length": cell.summary.mean_acceptance_length,
        "tokens_per_pass": cell.cooperation.tokens_per_pass,
    }
