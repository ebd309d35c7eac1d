"""How soon a request is re-routed when its subject changes.

python -m cospec.training.rerouting --validation valid.jsonl.gz

A text that goes from one domain's response into another's is replayed as if the verifier said it, so that the place of
the change is known; the drafters, the routing and the round loop are the real ones.
"""

import argparse
import asyncio
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from cospec.config import DEFAULT_REPOSITORY, Settings, drafter_model, load_settings
from cospec.engine.building import build_drafter
from cospec.engine.in_process import InProcessDrafter
from cospec.engine.routing_prior import RoutingPriorError, load_routing_prior
from cospec.engine.verifier import match
from cospec.engine.weights import WeightsError
from cospec.speculation.request import GenerationRequest, Method, SpeculationMode
from cospec.speculation.rounds import RoundLoop
from cospec.speculation.types import Drafter, DraftTree, SamplingParameters, Status, VerifyResult, VerifyRow
from cospec.training.corpus import CorpusError, read_corpus
from cospec.training.windows import Documents, tokenize

BEFORE, AFTER = 64, 64  # tokens of the first domain behind the prompt, and of the second one
SHOWN_ROUNDS = (1, 2, 3, 5)


@dataclass(frozen=True)
class SwitchingText:
    first: str
    second: str
    prompt: list[int]
    output: list[int]  # `BEFORE` tokens of the first domain, then `AFTER` of the second


class ReplayVerifier:
    """Says a given text, whatever is drafted, and notes where every round begins."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = list(tokens)
        self.positions: list[int] = []  # of the first token that a round with a draft, or without, may bring

    async def verify(self, rows: Sequence[VerifyRow]) -> list[VerifyResult]:
        return [self._verify(row) for row in rows]

    async def release(self, session_ids: Sequence[int]) -> None:
        pass

    def _verify(self, row: VerifyRow) -> VerifyResult:
        start = row.committed_length + len(row.context)
        if row.committed_length:
            self.positions.append(start)
        path, tokens = match(row.tree, [self._at(start), *self._behind_nodes(row.tree, start)])
        return VerifyResult(Status.OK, start + len(path), tuple(path), tuple(tokens))

    def _behind_nodes(self, tree: DraftTree, start: int) -> list[int]:
        """Right behind every accepted node; what stands behind the others is never looked at."""
        return [self._at(start + depth) for depth in tree.node_depths()]

    def _at(self, position: int) -> int:
        return self._tokens[min(position, len(self._tokens) - 1)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m cospec.training.rerouting", description=__doc__)
    parser.add_argument("--validation", type=Path, required=True, help="JSONL (.gz) of domain, prompt, response")
    parser.add_argument("--texts", type=int, default=10, help="for each two domains (default: %(default)s)")
    parser.add_argument("--method", choices=["routed", "tree"], default="routed", help="default: %(default)s")
    parser.add_argument("--model-repository", type=Path, default=DEFAULT_REPOSITORY)
    options = parser.parse_args(arguments)
    try:
        measure(options.validation, options.texts, Method(options.method), options.model_repository)
    except (CorpusError, RoutingPriorError, WeightsError) as error:
        print(f"rerouting: {error}", file=sys.stderr)
        return 2
    return 0


def measure(validation: Path, num_texts: int, method: Method, repository: Path) -> None:
    """Print the shares. Raises `CorpusError`, `RoutingPriorError` and `WeightsError`."""
    settings = load_settings()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(settings.weights(repository)["verifier"])
    examples = [example for example in read_corpus(validation) if example.domain in settings.drafters]
    texts = switching_texts(tokenize(examples, tokenizer), num_texts)
    if not texts:
        raise CorpusError(f"{validation}: no two drafters' domains have responses of {max(BEFORE, AFTER)} tokens")
    drafters: dict[str, Drafter] = {
        name: InProcessDrafter(build_drafter(settings.engine, settings.weights(repository)[drafter_model(name)]))
        for name in settings.drafters
    }
    delays = [
        asyncio.run(delay_of(settings, drafters, text, method, repository))
        for text in tqdm(texts, desc="replaying", unit="text")
    ]
    report(delays, method)


def switching_texts(documents: Documents, count: int) -> list[SwitchingText]:
    """`count` of every ordered pair of domains, as far as there are responses that are long enough."""
    long = {
        domain: [document for document in group if len(document.response) >= max(BEFORE, AFTER)][:count]
        for domain, group in documents.items()
    }
    return [
        SwitchingText(first, second, one.prompt, one.response[:BEFORE] + other.response[:AFTER])
        for first in long
        for second in long
        if first != second
        for one, other in zip(long[first], long[second], strict=False)
    ]


@dataclass(frozen=True)
class Delay:
    """Rounds from the switch up to the first in which the new domain's drafter takes part, and up to the first that it
    leads. 1 is at once."""

    takes_part: float
    leads: float  # infinite: never


async def delay_of(
    settings: Settings, drafters: dict[str, Drafter], text: SwitchingText, method: Method, repository: Path
) -> Delay:
    verifier = ReplayVerifier(text.prompt + text.output)
    serving = replace(settings.serving, plain_tokens_per_call=1)
    prior = load_routing_prior(settings, repository)
    loop = RoundLoop(
        verifier, drafters, {}, replace(settings, serving=serving), time.monotonic, lambda message: None, prior
    )
    mode = SpeculationMode(method, None, settings.speculation.num_draft_tokens, settings.speculation.lookup)
    request = GenerationRequest(tuple(text.prompt), len(text.output), SamplingParameters(), mode, ignore_eos=True)
    running = asyncio.create_task(loop.run())
    sequence = loop.submit(1, request, lambda tokens: "")
    while not sequence.done:
        await sequence.progress.wait()
        sequence.progress.clear()
    await loop.drain()
    running.cancel()
    routes = [names.split("+") for names, count in sequence.statistics.routes for _ in range(count)]
    switch = len(text.prompt) + BEFORE
    after = [names for names, start in zip(routes, verifier.positions, strict=True) if start > switch]
    takes_part = [text.second in names for names in after]
    return Delay(_first(takes_part), _first([names[0] == text.second for names in after]))


def _first(found: Sequence[bool]) -> float:
    return found.index(True) + 1 if any(found) else math.inf


def report(delays: Sequence[Delay], method: Method) -> None:
    print(f"{method.value}: {len(delays)} texts that change their domain; within so many rounds of the change")
    print(f"{'rounds':>8}{'takes part':>12}{'leads':>8}   of the new domain's drafter")
    for limit in SHOWN_ROUNDS:
        takes_part, leads = (
            sum(number <= limit for number in column) / len(delays)
            for column in zip(*((delay.takes_part, delay.leads) for delay in delays), strict=True)
        )
        print(f"{limit:>8}{takes_part:>12.1%}{leads:>8.1%}")


if __name__ == "__main__":
    raise SystemExit(main())
