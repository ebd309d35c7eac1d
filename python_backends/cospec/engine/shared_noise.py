"""What it is worth that drafters sample with the verifier's own noise.

The verifier writes a text of its own, token by token; a drafter reads along. At every token this tells with what chance
a draft is accepted: with shared noise (1 or 0: the drafter's choice is known), with noise of the drafter's own and the
ratio test, min(1, target_probs / draft_probs) of the drafted token (arXiv 2211.17192), and with noise of its own and
sample-and-match, which is what remains to a lossless server where several drafters are fused. From these follow the
tokens that a round brings, exactly, given the text.

python -m cospec.engine.shared_noise < prompts.jsonl     each line: {"domain": ..., "prompt": ...}
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from transformers.utils import logging

from cospec.config import DEFAULT_REPOSITORY, drafter_model, load_settings
from cospec.engine.blocks import Part, assemble
from cospec.engine.building import build_model
from cospec.engine.language_model import LanguageModel
from cospec.engine.sampling import SamplingBatch, choose_tokens
from cospec.engine.vocabulary import load_vocabulary
from cospec.speculation.types import SamplingParameters

TEMPERATURES = (0.0, 0.7, 1.0)


class Chances(NamedTuple):
    """That the verifier's next token is the accepted draft, by how the drafter's noise was made."""

    shared: float
    ratio_test: float
    matched: float  # noise of its own, sample-and-match


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m cospec.engine.shared_noise", description=__doc__)
    parser.add_argument("--draft-tokens", type=int, default=8, help="of a round (default: %(default)s)")
    parser.add_argument("--max-tokens", type=int, default=64, help="of a text (default: %(default)s)")
    options = parser.parse_args(arguments)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    prompts = [json.loads(line) for line in sys.stdin if line.strip()]
    texts = measure(prompts, options.max_tokens)
    print(json.dumps({"temperatures": [summary(T, texts[T], options.draft_tokens) for T in TEMPERATURES]}))
    return 0


def measure(prompts: Sequence[Mapping[str, str]], max_tokens: int) -> dict[float, list[list[Chances]]]:
    """temperature -> for each prompt, read along by its own domain's drafter, the chances at each token."""
    settings = load_settings()
    weights = settings.weights(DEFAULT_REPOSITORY)
    vocabulary = load_vocabulary(weights["verifier"])
    verifier = build_model(settings.engine, settings.engine.verifier, weights["verifier"])
    names = sorted({prompt["domain"] for prompt in prompts})
    drafters = {
        name: build_model(settings.engine, settings.engine.drafter, weights[drafter_model(name)]) for name in names
    }
    found: dict[float, list[list[Chances]]] = {temperature: [] for temperature in TEMPERATURES}
    for number, prompt in enumerate(tqdm(prompts, desc="reading along", unit="prompt")):
        tokens, drafter = vocabulary.encode(prompt["prompt"]), drafters[prompt["domain"]]
        for temperature in TEMPERATURES:
            sampling = SamplingParameters(temperature, seed=number)
            found[temperature].append(read_along(verifier, drafter, tokens, max_tokens, sampling))
    return found


@torch.inference_mode()
def read_along(
    verifier: LanguageModel,
    drafter: LanguageModel,
    prompt: Sequence[int],
    max_tokens: int,
    sampling: SamplingParameters,
) -> list[Chances]:
    """At each token of the verifier's text, which ends early only where the context is full."""
    part = Part(0, 0, np.asarray(prompt, dtype=np.int32))
    found: list[Chances] = []
    while len(found) < max_tokens and part.end < min(verifier.max_length, drafter.max_length):
        target, draft = (model.logits(assemble(model, [part])) for model in (verifier, drafter))
        token = _choice(verifier, target, part.end, sampling)
        guess = _choice(drafter, draft, part.end, sampling)
        found.append(chances(target[0], draft[0], token, guess, sampling.temperature))
        part = Part(0, part.end, np.asarray([token], dtype=np.int32))
    return found


def _choice(model: LanguageModel, logits: Tensor, position: int, sampling: SamplingParameters) -> int:
    batch = SamplingBatch.from_parameters([sampling], model.device)
    positions = torch.tensor([position], device=model.device)
    return int(choose_tokens(logits.clone(), positions, batch, model.end_tokens))


def chances(target: Tensor, draft: Tensor, token: int, guess: int, temperature: float) -> Chances:
    """`target`, `draft`: logits [vocab]; `token`: the verifier's choice; `guess`: the drafter's with the same noise."""
    agreed = float(guess == token)
    if temperature == 0:
        return Chances(agreed, agreed, agreed)
    target_prob, draft_prob = (float((logits / temperature).softmax(-1)[token]) for logits in (target, draft))
    # Drafted and accepted with chance min(draft, target), of all the ways that the token came to be: the target's.
    return Chances(agreed, min(1.0, draft_prob / target_prob), draft_prob)


def summary(temperature: float, texts: Sequence[Sequence[Chances]], num_draft_tokens: int) -> dict[str, float]:
    """Of each kind of noise: tokens that a round brings, and how many of a hundred tokens agree."""
    result = {"temperature": temperature}
    for kind in Chances._fields:
        columns = [[getattr(each, kind) for each in text] for text in texts if text]
        rounds = sum(expected_rounds(column, num_draft_tokens) for column in columns)
        result[f"{kind}_acceptance_length"] = round(sum(map(len, columns)) / rounds, 4)
        result[f"{kind}_agreement"] = round(mean(chance for column in columns for chance in column), 4)
    return result


def expected_rounds(chances: Sequence[float], num_draft_tokens: int) -> float:
    """That a text takes, where the token at each place, if drafted, is accepted with the chance of that place.

    A round ends with the first token that is not accepted, with the bonus token behind a whole draft, or the text.
    """
    rounds = 0.0
    reached = [1.0] + [0.0] * num_draft_tokens  # with how many accepted tokens a round comes to this place
    for chance in chances:
        accepted = [share * chance for share in reached[:-1]]
        ended = sum(reached) - sum(accepted)
        rounds += ended
        reached = [ended, *accepted]
    return rounds + sum(reached[1:])


if __name__ == "__main__":
    raise SystemExit(main())
