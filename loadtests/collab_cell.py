"""One contender at one place, once: rates and times, and what drafters, verifier and round loop did."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, median

from cospec_client import Client, Generation, PerfMetrics

from loadtests.bench_plan import Answers, Cell, Mode, ask_all, sample
from loadtests.metrics import summarize
from loadtests.timelines import Moments, overlap_share
from loadtests.verifier_batches import BatchCounts, read_counts
from loadtests.workload import Prompt

TOTALS = ("rounds", "drafted_rounds", "num_draft_tokens")
UNDRAFTED = "none"  # how a route names a round without a draft


@dataclass(frozen=True)
class Server:
    """A running one."""

    url: str
    client: Client


@dataclass(frozen=True)
class Cooperation:
    """Shares are from 0 to 1."""

    tokens_per_pass: float  # of the verifier, per request
    right_at_first: float  # of requests: their own domain's drafter led the first draft
    right_within_three: float  # ... or one of the first three
    orchestrator_share: float
    overlap: float  # of the time, in which a drafter and the verifier were busy


@dataclass(frozen=True)
class CollabCell(Cell):
    cooperation: Cooperation
    accepted_shares: Mapping[str, float]  # drafter -> of the accepted tokens
    batches: BatchCounts  # of the verifier, while the cell ran
    timelines: tuple[tuple[Moments, ...], ...]  # of every request, in ms
    foretold: tuple[tuple[float, float], ...] = ()  # of every request's rounds: predicted and measured ms
    totals: Mapping[str, int] = field(default_factory=dict)  # over all requests


def run_collab_cell(
    server: Server,
    mode: Mode,
    concurrency: int,
    prompts: Sequence[Prompt],
    max_tokens: int,
    temperature: float = 0.0,
    varied: bool = False,
) -> CollabCell:
    """`varied`: as in `ask_all`. Raises `CospecError`."""
    before = read_counts(server.url)
    answers, seconds = ask_all(server.client, mode, concurrency, prompts, max_tokens, temperature, varied)
    return cell_of(answers, seconds, read_counts(server.url).since(before))


def cell_of(answers: Answers, seconds: float, batches: BatchCounts) -> CollabCell:
    metrics = [generation.perf_metrics for _, generation in answers]
    return CollabCell(
        summary=summarize([sample(generation) for _, generation in answers], seconds),
        texts=tuple((prompt.text, generation.text) for prompt, generation in answers),
        cooperation=cooperation(answers),
        accepted_shares=accepted_shares(metrics),
        batches=batches,
        timelines=tuple(each.timeline_ms for each in metrics),
        foretold=tuple(pair for each in metrics for pair in _foretold(each)),
        totals={name: sum(getattr(each, name) for each in metrics) for name in TOTALS},
    )


def _foretold(metrics: PerfMetrics) -> Iterator[tuple[float, float]]:
    for predicted, (started, _, ended) in zip(metrics.predicted_ms, metrics.timeline_ms, strict=False):
        yield predicted, ended - started


def cooperation(answers: Answers) -> Cooperation:
    first_right = [first_right_round(each.perf_metrics.routes, prompt.domain) for prompt, each in answers]
    return Cooperation(
        tokens_per_pass=tokens_per_pass([generation for _, generation in answers]),
        right_at_first=mean(number is not None and number == 1 for number in first_right),
        right_within_three=mean(number is not None and number <= 3 for number in first_right),
        orchestrator_share=mean(generation.perf_metrics.orchestrator_share for _, generation in answers),
        overlap=overlap_share(generation.perf_metrics.timeline_ms for _, generation in answers),
    )


def tokens_per_pass(generations: Sequence[Generation]) -> float:
    """Every token costs a pass of the verifier but those accepted, however many tokens a call brings."""
    tokens = sum(generation.num_output_tokens for generation in generations)
    return tokens / max(1, tokens - sum(generation.perf_metrics.num_accepted_tokens for generation in generations))


def first_right_round(routes: Sequence[tuple[str, int]], domain: str) -> int | None:
    """The first drafted round, from 1 on, that the domain's own drafter led; None: it led none."""
    number = 1
    for drafters, rounds in routes:
        if drafters.split("+")[0] == domain:
            return number
        if drafters != UNDRAFTED:
            number += rounds
    return None


def accepted_shares(metrics: Sequence[PerfMetrics]) -> dict[str, float]:
    """Of all requests' accepted tokens; one that two drafters proposed counts for both."""
    tokens: Counter[str] = Counter()
    for each in metrics:
        for drafter, share in each.accepted_shares.items():
            tokens[drafter] += share * each.num_accepted_tokens  # type: ignore[assignment]
    everything = sum(tokens.values())
    return {drafter: round(count / everything, 4) for drafter, count in tokens.most_common() if count}


def median_cooperation(cells: Sequence[CollabCell]) -> dict[str, float]:
    """Each figure's median over repeats."""
    names = Cooperation.__dataclass_fields__
    return {name: round(median(getattr(cell.cooperation, name) for cell in cells), 4) for name in names}
