"""Replicas, each a verifier with its drafters and a round loop, that share the arrivals."""

import asyncio
import math
from collections.abc import Mapping
from collections.abc import Sequence as Rows
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from cospec.config import Settings
from cospec.simulation.arrivals import Arrival
from cospec.simulation.models import DraftingStage, SimulatedDrafter, SimulatedVerifier, World
from cospec.simulation.virtual_time import run
from cospec.speculation.cost_model import CostModel, Learnt
from cospec.speculation.profiling import Profile
from cospec.speculation.request import GenerationRequest, SpeculationMode
from cospec.speculation.rounds import RoundLoop
from cospec.speculation.sequence import Sequence
from cospec.speculation.slo import Slo
from cospec.speculation.types import SamplingParameters

VARIETY = 12.0  # of requests' mean chances: a Beta distribution's total


@dataclass(frozen=True)
class Scenario:
    settings: Settings
    profile: Profile
    slos: Mapping[Slo, float]  # what is promised, and to how large a share of the requests
    mode: SpeculationMode
    acceptance: float  # mean chance that a draft token is accepted, all before it being
    seed: int = 0
    learnt: Learnt | None = None  # what costs were while serving, where that is known
    believed: Profile | None = None  # by the controller at the start, where that is not what is true


@dataclass(frozen=True)
class Outcome:
    """Of one simulated run. Times in seconds; shares from 0 to 1."""

    requests: int
    refused: int  # a full queue's
    seconds: float
    tokens_per_second: float
    attainment: float  # share of all requests that kept every promise
    attainment_by_class: Mapping[str, float]
    goodput: float  # requests a second that did
    ttft_p50: float
    ttft_p99: float
    tpot_p50: float
    tpot_p99: float
    mean_acceptance_length: float | None  # tokens of a round with a draft; None: nobody drafted


def simulate(scenario: Scenario, arrivals: Rows[Arrival], replicas: int, progress: bool = False) -> Outcome:
    """Each request goes to the replica with the fewest."""
    return run(_simulate(scenario, arrivals, replicas, progress))


async def _simulate(scenario: Scenario, arrivals: Rows[Arrival], replicas: int, progress: bool) -> Outcome:
    random = np.random.default_rng(scenario.seed)
    mean = scenario.acceptance
    chances = dict(enumerate(random.beta(VARIETY * mean, VARIETY * (1 - mean), len(arrivals)).tolist()))
    slos = _promised(scenario.slos, len(arrivals), random)
    loops = [_replica(scenario, World(chances, scenario.seed)) for _ in range(replicas)]
    serving = [asyncio.create_task(loop.run()) for loop in loops]
    clock = asyncio.get_running_loop().time
    waiting: list[asyncio.Task[Sequence]] = []
    refused = 0
    shown = tqdm(arrivals, desc="simulating", unit="request", disable=not progress)
    for number, (arrival, slo) in enumerate(zip(shown, slos, strict=True)):
        await asyncio.sleep(max(0.0, arrival.at - clock()))
        loop = min(loops, key=lambda each: len(each.pool))
        if loop.pool.is_full:
            refused += 1
            continue
        waiting.append(asyncio.create_task(_served(loop, number, _request(scenario, number, arrival, slo))))
    served = [await task for task in waiting]
    for task in serving:
        task.cancel()
    return _outcome(served, refused, clock())


def _promised(slos: Mapping[Slo, float], count: int, random: np.random.Generator) -> list[Slo]:
    kinds, shares = list(slos), np.asarray(list(slos.values()), dtype=np.float64)
    return [kinds[kind] for kind in random.choice(len(kinds), count, p=shares / shares.sum())]


def _replica(scenario: Scenario, world: World) -> RoundLoop:
    truth = CostModel()
    truth.learn(scenario.profile.verify, scenario.profile.draft)
    if scenario.learnt is not None:
        truth.take_over(scenario.learnt)
    stage = DraftingStage(truth, world)
    speculation = replace(scenario.settings.speculation, lookup=False)  # there are no words here
    settings = replace(scenario.settings, speculation=speculation)
    loop = RoundLoop(
        SimulatedVerifier(truth),
        {name: SimulatedDrafter(name, stage) for name in settings.drafters},
        {},
        settings,
        asyncio.get_running_loop().time,
        _refuse_to_go_on,
        prior=_Known(settings.drafters),
    )
    believed = scenario.believed or scenario.profile
    loop.steering.costs.learn(believed.verify, believed.draft)
    return loop


def _refuse_to_go_on(warning: str) -> None:
    """Nothing fails here but the program itself."""
    raise RuntimeError(warning)


class _Known:
    """Routing is taken to be right: the first drafter knows every text."""

    def __init__(self, drafters: Rows[str]) -> None:
        self._drafters = drafters

    def probabilities(self, texts: Rows[Rows[int]]) -> list[dict[str, float]]:
        best = [self._drafters[tokens[0] % len(self._drafters)] for tokens in texts]
        return [{name: float(name == each) for name in self._drafters} for each in best]


def _request(scenario: Scenario, number: int, arrival: Arrival, slo: Slo) -> GenerationRequest:
    return GenerationRequest(
        (number,) * arrival.prompt_tokens,
        arrival.output_tokens,
        SamplingParameters(),
        scenario.mode,
        ignore_eos=True,
        slo=slo,
    )


async def _served(loop: RoundLoop, number: int, request: GenerationRequest) -> Sequence:
    sequence = loop.submit(number, request, lambda tokens: "")
    while not sequence.done:
        await sequence.progress.wait()
        sequence.progress.clear()
    return sequence


def _outcome(served: Rows[Sequence], refused: int, seconds: float) -> Outcome:
    requests = len(served) + refused
    kept = sum(map(_kept_all, served))
    ttft = [
        sequence.first_token_at - sequence.submitted_at for sequence in served if sequence.first_token_at is not None
    ]
    tpot = [_tpot(sequence) for sequence in served if sequence.num_output_tokens > 1]
    counted = [sequence.statistics for sequence in served]
    drafted = sum(each.drafted_rounds for each in counted)
    return Outcome(
        requests=requests,
        refused=refused,
        seconds=seconds,
        tokens_per_second=sum(sequence.num_output_tokens for sequence in served) / max(seconds, 1e-9),
        attainment=kept / max(1, requests),
        attainment_by_class=_attainment_by_class(served),
        goodput=kept / max(seconds, 1e-9),
        ttft_p50=_percentile(ttft, 50),
        ttft_p99=_percentile(ttft, 99),
        tpot_p50=_percentile(tpot, 50),
        tpot_p99=_percentile(tpot, 99),
        mean_acceptance_length=1 + sum(each.num_accepted_tokens for each in counted) / drafted if drafted else None,
    )


def _attainment_by_class(served: Rows[Sequence]) -> dict[str, float]:
    """Of the requests that were not refused."""
    kept: dict[str, list[bool]] = {}
    for sequence in served:
        kept.setdefault(sequence.request.slo.name, []).append(_kept_all(sequence))
    return {name: sum(each) / len(each) for name, each in sorted(kept.items())}


def _kept_all(sequence: Sequence) -> bool:
    return all(sequence.statistics.slo_met.values())


def _tpot(sequence: Sequence) -> float:
    assert sequence.first_token_at is not None
    return (sequence.ended_at - sequence.first_token_at) / (sequence.num_output_tokens - 1)


def _percentile(values: Rows[float], percent: float) -> float:
    return float(np.percentile(values, percent)) if values else math.nan
