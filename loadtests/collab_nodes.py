"""What cooperation brings where the verifier checks nodes for nothing, as an accelerator does while memory bounds it.

On a few cores every node costs arithmetic, so that trees are kept small there. How many tokens they bring depends on
the models alone, and is the same with every verifier that says the same.
"""

from pathlib import Path
from typing import Any

from tqdm import tqdm

from loadtests.collab_cell import run_collab_cell
from loadtests.collab_pair import servers_of
from loadtests.collab_plan import ALONE, FREE_NODES, LOOKUP, CollabPlan, Contender, routed, tree
from loadtests.pairs import Pair
from loadtests.workload import MIXED, prompts_of


def measure_nodes(pair: Pair, plan: CollabPlan, folder: Path) -> list[dict[str, Any]]:
    """Of each contender and size of trees, as plain JSON. Raises ServerFailed or CospecError."""
    depth, prompts, found = plan.bundle.depth, prompts_of(MIXED, plan.routing_prompts), []
    lockstep, lookup = Contender("lock-step", f"lockstep:{depth}"), Contender(LOOKUP, f"tree:{depth}+lookup")
    for most, changes in tqdm(FREE_NODES.items(), desc="nodes that cost nothing", unit="size"):
        with servers_of(pair, {}, {ALONE: changes}, folder) as servers:
            for each in (routed(depth), tree(depth), lockstep, lookup):
                cell = run_collab_cell(servers[ALONE], each, 1, prompts, plan.bundle.max_tokens)
                nodes = cell.totals["num_draft_tokens"] / max(1, cell.totals["drafted_rounds"])
                length = round(cell.summary.mean_acceptance_length, 4)
                found.append(
                    {
                        "contender": each.name,
                        "most": most,
                        "settings": changes["speculation"],
                        "nodes": round(nodes, 2),
                        "mean_acceptance_length": length,
                        "tokens_per_pass": cell.cooperation.tokens_per_pass,
                    }
                )
    return found
