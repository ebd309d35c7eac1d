"""What the benchmark compares: modes, concurrencies, and the requests of one cell."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cospec_client import Client, Generation

from loadtests.metrics import Sample, Summary, summarize
from loadtests.workload import Prompt

MAX_TOKENS = 64


@dataclass(frozen=True)
class Mode:
    """`speculation` may hold `{domain}`: the drafter of the prompt's own domain."""

    name: str
    speculation: str

    def for_prompt(self, prompt: Prompt) -> str:
        return self.speculation.format(domain=prompt.domain)


MODES = (
    Mode("off", "off"),
    Mode("fixed k=2", "fixed:{domain}:2"),
    Mode("fixed k=4", "fixed:{domain}:4"),
    Mode("fixed k=8", "fixed:{domain}:8"),
    Mode("auto", "auto"),
)


@dataclass(frozen=True)
class Cell:
    """One mode at one concurrency, once."""

    summary: Summary
    texts: dict[str, str]  # prompt -> greedy answer


def run_cell(client: Client, mode: Mode, concurrency: int, prompts: Sequence[Prompt]) -> Cell:
    """Closed loop: `concurrency` callers share the prompts, each asking as soon as it has its answer."""
    remaining = list(reversed(prompts))
    lock = threading.Lock()
    answered: list[tuple[Prompt, Generation]] = []

    def caller() -> None:
        while True:
            with lock:
                if not remaining:
                    return
                prompt = remaining.pop()
            answered.append((prompt, ask(client, mode, prompt)))

    started = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as pool:
        for future in [pool.submit(caller) for _ in range(concurrency)]:
            future.result()
    seconds = time.perf_counter() - started
    samples = [_sample(generation) for _, generation in answered]
    return Cell(summarize(samples, seconds), {prompt.text: generation.text for prompt, generation in answered})


def ask(client: Client, mode: Mode, prompt: Prompt) -> Generation:
    return client.generate(
        prompt.text, max_tokens=MAX_TOKENS, temperature=0, ignore_eos=True, speculation=mode.for_prompt(prompt)
    )


def _sample(generation: Generation) -> Sample:
    metrics = generation.perf_metrics
    return Sample(
        generation.ttft,
        generation.latency,
        generation.num_output_tokens,
        metrics.rounds,
        metrics.num_accepted_tokens,
    )
