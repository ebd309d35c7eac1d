"""What the benchmark compares: modes, concurrencies, and the requests of one cell."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cospec_client import Client, Generation

from loadtests.metrics import Sample, Summary, summarize
from loadtests.workload import TYPICAL_ANSWER, Prompt, take


@dataclass(frozen=True)
class Plan:
    """How long a benchmark runs. `requests_per_caller`: concurrency -> requests that each caller makes."""

    repeats: int
    max_tokens: int
    requests_per_caller: dict[int, int]

    def prompts(self, available: Sequence[Prompt], concurrency: int) -> list[Prompt]:
        """The prompts of a cell, from the first on, again and again."""
        return take(available, concurrency * self.requests_per_caller[concurrency])


FULL = Plan(repeats=5, max_tokens=TYPICAL_ANSWER, requests_per_caller={1: 20, 8: 10, 32: 6})
QUICK = Plan(repeats=1, max_tokens=32, requests_per_caller={1: 5, 8: 2, 32: 1})


@dataclass(frozen=True)
class Mode:
    """`speculation` may hold `{domain}`: the drafter of the prompt's own domain."""

    name: str
    speculation: str

    def for_prompt(self, prompt: Prompt) -> str:
        return self.speculation.format(domain=prompt.domain)


OFF = Mode("off", "off")
MODES = (
    OFF,
    Mode("fixed k=2", "fixed:{domain}:2"),
    Mode("fixed k=4", "fixed:{domain}:4"),
    Mode("fixed k=8", "fixed:{domain}:8"),
    Mode("auto", "auto"),
)


@dataclass(frozen=True)
class Cell:
    """One mode at one concurrency, once."""

    summary: Summary
    texts: tuple[tuple[str, str], ...]  # (prompt, greedy answer) of every request

    def num_identical(self, expected: dict[str, str]) -> int:
        """Answers that are the expected one of their prompt."""
        return sum(expected[prompt] == text for prompt, text in self.texts)


Answers = list[tuple[Prompt, Generation]]


def run_cell(client: Client, mode: Mode, concurrency: int, prompts: Sequence[Prompt], max_tokens: int) -> Cell:
    answered, seconds = ask_all(client, mode, concurrency, prompts, max_tokens)
    samples = [sample(generation) for _, generation in answered]
    return Cell(summarize(samples, seconds), tuple((prompt.text, generation.text) for prompt, generation in answered))


def ask_all(
    client: Client,
    mode: Mode,
    concurrency: int,
    prompts: Sequence[Prompt],
    max_tokens: int,
    temperature: float = 0.0,
    varied: bool = False,
) -> tuple[Answers, float]:
    """Closed loop: `concurrency` callers share the prompts, each asking as soon as it has its answer.

    All answers, and the seconds that they took together. `varied`: answers are from half to one and a half times as
    long, for where all of one length would end, and begin anew, in step.
    """
    remaining = [
        (prompt, max_tokens // 2 + number * 37 % (max_tokens + 1) if varied else max_tokens)
        for number, prompt in enumerate(prompts)
    ][::-1]
    lock = threading.Lock()
    answered: Answers = []

    def caller() -> None:
        while True:
            with lock:
                if not remaining:
                    return
                prompt, length = remaining.pop()
            answered.append((prompt, ask(client, mode, prompt, length, temperature)))

    started = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as pool:
        for future in [pool.submit(caller) for _ in range(concurrency)]:
            future.result()
    return answered, time.perf_counter() - started


def ask(client: Client, mode: Mode, prompt: Prompt, max_tokens: int, temperature: float = 0.0) -> Generation:
    """The same seed each time, so that repeats are of the same text."""
    return client.generate(
        prompt.text,
        max_tokens=max_tokens,
        temperature=temperature,
        seed=0,
        ignore_eos=True,
        speculation=mode.for_prompt(prompt),
    )


def sample(generation: Generation) -> Sample:
    metrics = generation.perf_metrics
    return Sample(
        generation.ttft,
        generation.latency,
        generation.num_output_tokens,
        metrics.drafted_rounds,
        metrics.num_accepted_tokens,
    )
