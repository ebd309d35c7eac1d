"""The acceptance matrix: how many tokens a round brings, for every drafter in every domain."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from cospec.config import Settings
from cospec.speculation.request import GenerationRequest, Method, SpeculationMode
from cospec.speculation.rounds import RoundLoop
from cospec.speculation.types import Drafter, SamplingParameters, Verifier

NUM_DRAFT_TOKENS = 4
Prompts = Mapping[str, Sequence[tuple[int, ...]]]  # domain -> prompts as token ids


@dataclass(frozen=True)
class AcceptanceMatrix:
    """`mean_acceptance_length[drafter][domain]` = 1 + accepted / rounds, over all prompts of the domain."""

    temperature: float
    mean_acceptance_length: Mapping[str, Mapping[str, float]]

    def diagonal_mean(self) -> float:
        cells = [row[drafter] for drafter, row in self.mean_acceptance_length.items()]
        return sum(cells) / len(cells)

    def domains_lost(self) -> dict[str, str]:
        """Domain -> the foreign drafter that does better there than the domain's own."""
        table = self.mean_acceptance_length
        best = {domain: max(table, key=lambda drafter: table[drafter][domain]) for domain in table}
        return {domain: drafter for domain, drafter in best.items() if drafter != domain}

    def as_markdown(self) -> str:
        """Rows are domains, columns drafters, as one asks: who is best here?"""
        names = list(self.mean_acceptance_length)
        lines = [f"| T = {self.temperature:g} | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        for domain in names:
            cells = [self.mean_acceptance_length[drafter][domain] for drafter in names]
            shown = [f"**{cell:.2f}**" if cell == max(cells) else f"{cell:.2f}" for cell in cells]
            lines.append(f"| {domain} | {' | '.join(shown)} |")
        return "\n".join(lines)


def measure_acceptance(
    verifier: Verifier,
    drafters: Mapping[str, Drafter],
    end_tokens: Mapping[int, str],
    prompts: Prompts,
    temperature: float,
    max_tokens: int,
) -> AcceptanceMatrix:
    """Generate every prompt with every drafter through the server's own round loop."""
    cells = [(drafter, domain) for drafter in drafters for domain in prompts]
    table: dict[str, dict[str, float]] = {drafter: {} for drafter in drafters}
    for drafter, domain in tqdm(cells, desc=f"acceptance at T={temperature:g}", unit="cell"):
        requests = [
            GenerationRequest(
                prompt,
                max_tokens,
                SamplingParameters(temperature=temperature, seed=seed),
                SpeculationMode(Method.FIXED, drafter, NUM_DRAFT_TOKENS),
            )
            for seed, prompt in enumerate(prompts[domain])
        ]
        loop = RoundLoop(verifier, drafters, end_tokens, Settings(tuple(drafters)), time.monotonic, print)
        table[drafter][domain] = asyncio.run(_mean_acceptance_length(loop, requests))
    return AcceptanceMatrix(temperature, table)


async def _mean_acceptance_length(loop: RoundLoop, requests: Sequence[GenerationRequest]) -> float:
    running = asyncio.create_task(loop.run())
    sequences = [loop.submit(number, request, lambda tokens: "") for number, request in enumerate(requests)]
    for sequence in sequences:
        while not sequence.done:
            await sequence.progress.wait()
            sequence.progress.clear()
    await loop.drain()
    running.cancel()
    rounds = sum(sequence.statistics.rounds for sequence in sequences)
    return 1 + sum(sequence.statistics.num_accepted_tokens for sequence in sequences) / max(1, rounds)
