"""Before a load: first uses are slow, prompts must be measured, and ratios need requests without company."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from cospec_client import Client, Generation

from loadtests.workload import DOMAINS, MIXED, Prompt, prompts_of

TOKENS = 48
OFF = "off"


@dataclass(frozen=True)
class Alone:
    """Of requests without company; medians."""

    tokens_per_second: float
    off_tokens_per_second: float  # without speculation
    ttft_ms: float
    tpot_ms: float
    characters_per_token: float


def warm_up(client: Client, speculation: str, workload: str, repeats: int = 2) -> Alone:
    """In turn with speculation and without, so that drift of the machine falls on both alike. Raises `CospecError`."""
    prompts = prompts_of(workload, len(DOMAINS) if workload == MIXED else 4)
    for prompt in prompts:
        _ask(client, prompt, speculation)
    pairs = [
        (prompt, _ask(client, prompt, speculation), _ask(client, prompt, OFF))
        for _ in range(repeats)
        for prompt in prompts
    ]
    own = [with_speculation for _, with_speculation, _ in pairs]
    return Alone(
        tokens_per_second=_rate(own),
        off_tokens_per_second=_rate([plain for _, _, plain in pairs]),
        ttft_ms=median(generation.ttft for generation in own) * 1e3,
        tpot_ms=median(generation.tpot for generation in own) * 1e3,
        characters_per_token=sum(len(prompt.text) for prompt, *_ in pairs) / sum(each.num_input_tokens for each in own),
    )


def try_out(client: Client, speculation: str, workload: str) -> None:
    """Raises `CospecError`, so that what the server refuses is known before any load."""
    _ask(client, prompts_of(workload, 1)[0], speculation)


def _ask(client: Client, prompt: Prompt, speculation: str) -> Generation:
    options: dict[str, Any] = {"max_tokens": TOKENS, "temperature": 0.0, "seed": 0, "ignore_eos": True}
    return client.generate(prompt.text, speculation=speculation.replace("{domain}", prompt.domain), **options)


def _rate(generations: Sequence[Generation]) -> float:
    return median(generation.num_output_tokens / generation.latency for generation in generations)
