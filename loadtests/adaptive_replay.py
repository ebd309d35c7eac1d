"""Requests at their own times, whether answers come or not: what a load makes of each contender."""

import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random

from cospec_client import Client, CospecError, Generation

from loadtests.bench_plan import Mode
from loadtests.generator.arrivals import parse_arrivals, schedule
from loadtests.metrics import percentile
from loadtests.workload import Prompt

BURSTS = "gamma:burstiness=0.3"  # variance of the gaps as in the Azure conversation trace's busy minutes
AT_ONCE = 256  # requests


@dataclass(frozen=True)
class Due:
    """A request and when it is to be sent, in seconds from the start."""

    at: float
    prompt: Prompt
    max_tokens: int


@dataclass(frozen=True)
class Answer:
    """Seconds from when it was due, however late it was sent; None: an error."""

    due: Due
    generation: Generation | None
    ttft: float = 0.0
    tpot: float = 0.0
    sent_late: float = 0.0

    def keeps(self, ttft: float, tpot: float) -> bool:
        return self.generation is not None and self.ttft <= ttft and self.tpot <= tpot


@dataclass(frozen=True)
class Replay:
    """Times in milliseconds; attainment and failures as shares of all requests."""

    requests: int
    attainment: float
    goodput: float  # requests a second that kept their promises
    tokens_per_second: float
    ttft_p99: float
    tpot_p50: float
    tpot_p99: float
    failed: float
    sent_late_p99: float
    mean_acceptance_length: float
    texts: tuple[tuple[str, str], ...]


def bursts(rate: float, seconds: float, prompts: Sequence[Prompt], max_tokens: int, seed: int) -> list[Due]:
    """Gamma arrivals; lengths vary as answers do: geometric, from 4 tokens to twice the mean."""
    random = Random(seed)
    times = schedule(parse_arrivals(BURSTS), rate, seconds, random)
    lengths = [min(2 * max_tokens, 4 + int(random.expovariate(1 / max_tokens))) for _ in times]
    return [Due(at, prompts[index % len(prompts)], lengths[index]) for index, at in enumerate(times)]


def replay(client: Client, mode: Mode, dues: Sequence[Due], ttft: float, tpot: float) -> tuple[list[Answer], float]:
    """All answers, and the seconds until the last one. `ttft`, `tpot`: seconds, promised to every request."""
    started = time.perf_counter()
    gate = threading.Semaphore(AT_ONCE)

    def send(due: Due) -> Answer:
        with gate:
            sent = time.perf_counter() - started
            try:
                generation = client.generate(
                    due.prompt.text,
                    max_tokens=due.max_tokens,
                    temperature=0.0,
                    seed=0,
                    ignore_eos=True,
                    speculation=mode.for_prompt(due.prompt),
                    slo_ttft_ms=ttft * 1e3,
                    slo_tpot_ms=tpot * 1e3,
                )
            except CospecError:
                return Answer(due, None)
        return Answer(due, generation, sent - due.at + generation.ttft, generation.tpot, sent - due.at)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = []
        for due in dues:
            time.sleep(max(0.0, started + due.at - time.perf_counter()))
            futures.append(pool.submit(send, due))
        answers = [future.result() for future in futures]
    return answers, time.perf_counter() - started


def summarize(answers: Sequence[Answer], seconds: float, ttft: float, tpot: float) -> Replay:
    answered = [each for each in answers if each.generation is not None]
    metrics = [each.generation.perf_metrics for each in answered if each.generation is not None]
    drafted = sum(each.drafted_rounds for each in metrics)
    kept = sum(each.keeps(ttft, tpot) for each in answers)
    return Replay(
        requests=len(answers),
        attainment=kept / len(answers),
        goodput=kept / seconds,
        tokens_per_second=sum(each.generation.num_output_tokens for each in answered if each.generation) / seconds,
        ttft_p99=_milliseconds([each.ttft for each in answered], 0.99),
        tpot_p50=_milliseconds([each.tpot for each in answered], 0.5),
        tpot_p99=_milliseconds([each.tpot for each in answered], 0.99),
        failed=1 - len(answered) / len(answers),
        sent_late_p99=_milliseconds([each.sent_late for each in answered], 0.99),
        mean_acceptance_length=1 + sum(each.num_accepted_tokens for each in metrics) / drafted if drafted else 1.0,
        texts=tuple((each.due.prompt.text, each.generation.text) for each in answered if each.generation),
    )


def _milliseconds(seconds: Sequence[float], share: float) -> float:
    """Not a number where nothing was answered."""
    return percentile(seconds, share) * 1e3 if seconds else math.nan
