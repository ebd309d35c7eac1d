"""What is accepted above temperature 0: as served, and beside drafts with noise of their own."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from loadtests.bench_plan import Mode
from loadtests.collab_cell import Server, run_collab_cell
from loadtests.collab_plan import TEMPERATURES, CollabPlan, PairPlan, routed, tree
from loadtests.json_process import json_of
from loadtests.workload import MIXED, Prompt, prompts_of


def served(server: Server, plan: CollabPlan, pair_plan: PairPlan) -> list[dict[str, Any]]:
    """Mean acceptance length of each contender at each temperature."""
    depth = pair_plan.depth
    contenders = (Mode("own domain's drafter", f"fixed:{{domain}}:{depth}"), routed(depth), tree(depth))
    prompts = prompts_of(MIXED, plan.sampled_prompts)
    found = []
    turns = [(contender, temperature) for contender in contenders for temperature in TEMPERATURES]
    for contender, temperature in tqdm(turns, desc="temperatures", unit="cell"):
        cell = run_collab_cell(server, contender, 1, prompts, pair_plan.max_tokens, temperature)
        length = round(cell.summary.mean_acceptance_length, 4)
        found.append({"contender": contender.name, "temperature": temperature, "mean_acceptance_length": length})
    return found


def offline(prompts: Sequence[Prompt], plan: PairPlan) -> dict[str, Any]:
    """What `cospec.engine.shared_noise` says of the bundle. Raises `CommandFailed`."""
    module = "cospec.engine.shared_noise"
    lines = "\n".join(json.dumps({"domain": prompt.domain, "prompt": prompt.text}) for prompt in prompts)
    limits = ["--max-tokens", str(plan.max_tokens), "--draft-tokens", str(plan.depth)]
    return json_of([sys.executable, "-m", module, *limits], module, stdin=lines)
