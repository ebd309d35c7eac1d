"""What routes a request's first round better, and what it costs: the text classifier, or the drafters' own likelihood.

python -m cospec.training.priors --validation valid.jsonl.gz --responses
"""

import argparse
import asyncio
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from cospec.config import DEFAULT_REPOSITORY, Settings, drafter_model, load_settings
from cospec.engine.building import build_drafter, build_verifier
from cospec.engine.in_process import InProcessDrafter
from cospec.engine.routing_prior import RoutingPriorError, load_routing_prior, routing_prior_path
from cospec.engine.verifier import VerifierEngine
from cospec.engine.weights import WeightsError
from cospec.speculation.drafter_pool import DrafterPool
from cospec.speculation.planning import make_policy
from cospec.speculation.request import GenerationRequest, SpeculationMode
from cospec.speculation.router import Router
from cospec.speculation.sequence import Sequence as LiveSequence
from cospec.speculation.types import DraftTree, SamplingParameters, TokenArray, VerifyRow
from cospec.training.corpus import CorpusError, read_corpus
from cospec.training.windows import Documents, Window, after_switches, tokenize, within_responses

NEW_TOKENS = (8, 16, 24, 32, 48)  # of the new domain, after a switch


@dataclass(frozen=True)
class Row:
    """One prior on one kind of window."""

    kind: str
    prior: str
    right: Mapping[str, float]  # domain -> share of windows whose own drafter was chosen
    overall: float  # the same, over all windows
    seconds: float  # median, a window

    def __str__(self) -> str:
        cells = "".join(f"{share:>12.1%}" for share in (*self.right.values(), self.overall))  # nan: no such window
        return f"{self.kind:28}{self.prior:12}{cells}{self.seconds * 1e3:>12.3f}"


class Chooser:
    """The router's first choice on a text, by a given prior."""

    def __init__(self, settings: Settings, router: Router) -> None:
        self._drafters = settings.drafters
        self._policy = make_policy(settings.speculation)
        self._router = router

    async def choose(self, tokens: Sequence[int], prompt_length: int) -> tuple[str, float]:
        """Drafter, and the seconds it took to find it."""
        request = GenerationRequest(tuple(tokens[:prompt_length]), 128, SamplingParameters(), SpeculationMode())
        sequence = LiveSequence.create(0, request, lambda ids: "", self._drafters)
        sequence.tokens = list(tokens)
        started = time.perf_counter()
        await self._router.expect([sequence])
        [drafter] = self._policy.choose(sequence.routing, self._drafters, 1).leaders
        return drafter, time.perf_counter() - started


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m cospec.training.priors", description=__doc__)
    parser.add_argument("--validation", type=Path, required=True, help="JSONL (.gz) of domain, prompt, response")
    parser.add_argument("--prompts", type=int, default=200, help="of each domain, at most (default: %(default)s)")
    parser.add_argument("--responses", action="store_true", help="also pieces of responses, and switches of domain")
    parser.add_argument("--model-repository", type=Path, default=DEFAULT_REPOSITORY)
    options = parser.parse_args(arguments)
    if options.prompts < 1:
        parser.error(f"--prompts must be at least 1, got {options.prompts}")
    try:
        measure(options.validation, options.prompts, options.responses, options.model_repository)
    except (CorpusError, RoutingPriorError, WeightsError) as error:
        print(f"priors: {error}", file=sys.stderr)
        return 2
    return 0


def measure(validation: Path, num_prompts: int, responses: bool, repository: Path) -> None:
    """Print the table. Raises `CorpusError`, `RoutingPriorError` and `WeightsError`."""
    settings = load_settings()
    weights = settings.weights(repository)["verifier"]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(weights)
    examples = [example for example in read_corpus(validation) if example.domain in settings.drafters]
    if not examples:
        raise CorpusError(f"{validation}: no example is of a drafter's domain ({', '.join(settings.drafters)})")
    documents = {name: group[:num_prompts] for name, group in tokenize(examples, tokenizer).items()}
    choosers = _choosers(settings, repository)
    kinds = {"prompt": _after_first_token(build_verifier(settings.engine, weights), documents)}
    if responses:
        kinds |= _in_responses(documents)
    _report({kind: windows for kind, windows in kinds.items() if windows}, choosers, list(documents))


def _choosers(settings: Settings, repository: Path) -> dict[str, Chooser]:
    prior = load_routing_prior(settings, repository)
    if prior is None:
        raise RoutingPriorError(f"{routing_prior_path(repository)} is missing, or knows none of the drafters")
    drafters = {
        name: InProcessDrafter(build_drafter(settings.engine, settings.weights(repository)[drafter_model(name)]))
        for name in settings.drafters
    }
    pool = DrafterPool(drafters, math.inf, time.monotonic, print)
    score_tokens = settings.speculation.score_tokens
    return {
        "classifier": Chooser(settings, Router(pool, prior, score_tokens)),
        "likelihood": Chooser(settings, Router(pool, None, score_tokens)),
    }


def _after_first_token(verifier: VerifierEngine, documents: Documents) -> list[tuple[Window, int]]:
    """Each prompt with the verifier's own next token, and the prompt's length: where the router first looks."""
    texts = [(domain, document.prompt) for domain, group in documents.items() for document in group]
    return [
        (Window(domain, [*prompt, _next_token(verifier, prompt)]), len(prompt))
        for domain, prompt in tqdm(texts, desc="first tokens", unit="prompt")
    ]


def _next_token(verifier: VerifierEngine, prompt: Sequence[int]) -> int:
    context: TokenArray = np.asarray(prompt, dtype=np.int32)
    [result] = verifier.verify([VerifyRow(0, 0, context, DraftTree(), SamplingParameters())])
    verifier.release([0])
    return result.tokens[0]


def _in_responses(documents: Documents) -> dict[str, list[tuple[Window, int]]]:
    rng = np.random.default_rng(0)
    kinds = {"response": within_responses(documents, rng)}
    kinds |= {f"{count} tokens after a switch": after_switches(documents, count, rng) for count in NEW_TOKENS}
    return {kind: [(window, len(window.tokens)) for window in windows] for kind, windows in kinds.items()}


def _report(
    kinds: Mapping[str, Sequence[tuple[Window, int]]], choosers: Mapping[str, Chooser], domains: Sequence[str]
) -> None:
    print("Share of windows whose own drafter is chosen first, and the median milliseconds of the choice:")
    print(f"{'window':28}{'prior':12}" + "".join(f"{name:>12}" for name in (*domains, "all", "ms")))
    for kind, windows in kinds.items():
        for name, chooser in choosers.items():
            print(_measure(kind, name, chooser, windows, domains), flush=True)


def _measure(
    kind: str, name: str, chooser: Chooser, windows: Sequence[tuple[Window, int]], domains: Sequence[str]
) -> Row:
    shown = tqdm(windows, desc=f"{kind}, {name}", unit="window", leave=False)
    choices = asyncio.run(_choose_all(chooser, shown))
    right: dict[str, list[bool]] = {}
    for (window, _), (drafter, _) in zip(windows, choices, strict=True):
        right.setdefault(window.domain, []).append(drafter == window.domain)
    shares = {domain: float(np.mean(right[domain])) if domain in right else math.nan for domain in domains}
    overall = float(np.mean(np.concatenate(list(right.values()))))
    return Row(kind, name, shares, overall, median(seconds for _, seconds in choices))


async def _choose_all(chooser: Chooser, windows: Iterable[tuple[Window, int]]) -> list[tuple[str, float]]:
    return [await chooser.choose(window.tokens, prompt_length) for window, prompt_length in windows]


if __name__ == "__main__":
    raise SystemExit(main())
