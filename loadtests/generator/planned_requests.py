"""The requests of a plan: when, what, and for which class. Pure: the same plan, the same requests."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from random import Random

from loadtests.generator.arrivals import TRACE, Arrivals, parse_arrivals, schedule
from loadtests.generator.plan import Plan, class_shares
from loadtests.generator.traces import Row, mean_rate, read_trace, replayed
from loadtests.objectives import Objectives
from loadtests.workload import DOMAINS, MIXED, load_prompts


@dataclass(frozen=True)
class PlannedRequest:
    """`at`: seconds from the start of the run, warm-up included."""

    at: float
    domain: str
    slo_class: str
    prompt: str
    max_tokens: int
    seed: int
    speculation: str


def plan_requests(plan: Plan, objectives: Objectives) -> list[PlannedRequest]:
    """Of an open loop, in order of time."""
    random = Random(plan.load_seed)
    arrivals = parse_arrivals(plan.arrivals)
    measured = _measured(plan, arrivals, random)
    warming = schedule(Arrivals("poisson"), _warm_up_rate(plan, arrivals), plan.warm_up, random)
    rows = chain((Row(at, 0, 0) for at in warming), (_later(row, plan.warm_up) for row in measured))
    draw = _Draw(plan, objectives, random)
    return [draw.request(row) for row in rows]


def endless_requests(plan: Plan, objectives: Objectives, caller: str) -> Iterator[PlannedRequest]:
    """Of one caller of a closed loop; each is sent when the answer before it has come, whatever its `at`."""
    draw = _Draw(plan, objectives, Random(f"{plan.load_seed}/{caller}"))
    return (draw.request(row) for row in repeat(Row(0, 0, 0)))


def share_of(requests: Sequence[PlannedRequest], index: int, workers: int) -> list[PlannedRequest]:
    """What one of several workers sends: every n-th, so that all have the same rate at any time."""
    return list(requests[index::workers])


def _measured(plan: Plan, arrivals: Arrivals, random: Random) -> list[Row]:
    if arrivals.kind != TRACE:
        return [Row(at, 0, 0) for at in schedule(arrivals, plan.rate, plan.duration, random)]
    assert arrivals.path is not None
    options = arrivals.options
    return replayed(
        read_trace(arrivals.path),
        rate=plan.rate,
        speed=options["speed"],
        skip=options["skip"],
        duration=plan.duration,
        context=plan.context,
    )


def _warm_up_rate(plan: Plan, arrivals: Arrivals) -> float:
    if arrivals.kind == TRACE and arrivals.options["speed"] and arrivals.path is not None:
        return mean_rate(read_trace(arrivals.path)) * arrivals.options["speed"]
    return plan.rate


def _later(row: Row, seconds: float) -> Row:
    return Row(row.at + seconds, row.input_tokens, row.output_tokens)


class _Draw:
    """Prompts, classes and seeds, one request after another."""

    def __init__(self, plan: Plan, objectives: Objectives, random: Random) -> None:
        self._plan = plan
        self._objectives = objectives
        self._random = random
        self._shares = class_shares(plan, objectives)
        self._domains = DOMAINS if plan.workload == MIXED else (plan.workload,)
        self._prompts = {domain: load_prompts(domain) for domain in self._domains}

    def request(self, row: Row) -> PlannedRequest:
        """Lengths of 0 are those of the prompt as it is and of the class."""
        domain = self._random.choice(self._domains)
        [slo_class] = self._random.choices([*self._shares], [*self._shares.values()])
        return PlannedRequest(
            at=row.at,
            domain=domain,
            slo_class=slo_class,
            prompt=self._prompt(domain, row.input_tokens),
            max_tokens=self._plan.max_tokens or row.output_tokens or self._objectives.of(slo_class).max_tokens,
            seed=self._random.getrandbits(32),
            speculation=self._plan.speculation.replace("{domain}", domain),
        )

    def _prompt(self, domain: str, tokens: int) -> str:
        prompts = self._prompts[domain]
        first = self._random.randrange(len(prompts))
        if not tokens:
            return prompts[first].text
        return text_of_length(
            [prompt.text for prompt in prompts], first, max(1, round(tokens * self._plan.characters_per_token))
        )


def text_of_length(texts: Sequence[str], first: int, characters: int) -> str:
    """The texts one after another from `first` on, again and again, cut to a length."""
    together = "\n".join((*texts[first:], *texts[:first], ""))
    return (together * (characters // len(together) + 1))[:characters]
