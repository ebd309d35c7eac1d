"""Which drafter knows which domain, and how soon routing finds it."""

from typing import Any

from tqdm import tqdm

from loadtests.bench_plan import Mode
from loadtests.collab_cell import Server, run_collab_cell
from loadtests.collab_plan import CollabPlan, PairPlan, routed
from loadtests.workload import DOMAINS, MIXED, prompts_of


def acceptance(server: Server, plan: PairPlan) -> dict[str, dict[str, float]]:
    """drafter -> domain -> mean acceptance length of that drafter alone, as deep as the ladder drafts."""
    table: dict[str, dict[str, float]] = {drafter: {} for drafter in DOMAINS}
    turns = [(drafter, domain) for drafter in DOMAINS for domain in DOMAINS]
    for drafter, domain in tqdm(turns, desc="drafter by domain", unit="cell"):
        mode = Mode(drafter, f"fixed:{drafter}:{plan.depth}")
        cell = run_collab_cell(server, mode, 1, prompts_of(domain, plan.prompts_per_domain), plan.max_tokens)
        table[drafter][domain] = round(cell.summary.mean_acceptance_length, 4)
    return table


def routing(server: Server, plan: CollabPlan, depth: int) -> dict[str, Any]:
    """Shares of prompts that had their own domain's drafter in the first draft, and in one of the first three."""
    prompts = prompts_of(MIXED, plan.routing_prompts)
    found = run_collab_cell(server, routed(depth), 1, prompts, plan.routing_tokens).cooperation
    return {
        "num_prompts": len(prompts),
        "right_at_first": round(found.right_at_first, 4),
        "right_within_three": round(found.right_within_three, 4),
    }
