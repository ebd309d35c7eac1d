"""How near the verifier's two best tokens are where two greedy answers to one prompt part.

In bfloat16, forwards of different shape round differently, and two logits closer than that may change places. This
decodes each prompt alone and tells the gap at the first token that is not the other answer's.

python -m cospec.engine.near_ties < pairs.jsonl     each line: {"prompt": ..., "other": ...}
"""

import json
import sys
from collections.abc import Callable, Sequence

import numpy as np
from transformers.utils import logging

from cospec.config import DEFAULT_REPOSITORY, load_settings
from cospec.engine.blocks import Part, assemble
from cospec.engine.building import build_model
from cospec.engine.language_model import LanguageModel
from cospec.engine.vocabulary import load_vocabulary


def main() -> int:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    settings = load_settings()
    weights = settings.weights(DEFAULT_REPOSITORY)["verifier"]
    vocabulary = load_vocabulary(weights)
    model = build_model(settings.engine, settings.engine.verifier, weights)
    pairs = [json.loads(line) for line in sys.stdin if line.strip()]
    gaps = [
        gap_where_they_part(model, vocabulary.encode(pair["prompt"]), pair["other"], vocabulary.decode)
        for pair in pairs
    ]
    print(json.dumps({"gaps": gaps}))
    return 0


def gap_where_they_part(
    model: LanguageModel, prompt: Sequence[int], other: str, decode: Callable[[Sequence[int]], str]
) -> float:
    """Logit of the best token minus that of the second, where greedy decoding, alone, parts from `other`; 0.0: nowhere.

    Texts part later than tokens where one token's text begins another's (" a", " and") or shows nothing, as an ignored
    end of text does: it is the latest token whose second best goes on as `other` does.
    """
    part = Part(0, 0, np.asarray(prompt, dtype=np.int32))
    answer: list[int] = []
    parting: float | None = None
    while len(prompt) + len(answer) < model.max_length:
        logits, tokens = model.logits(assemble(model, [part]))[0].topk(2)
        texts = [decode([*answer, token]) for token in tokens.tolist()]
        if texts[0].startswith(other):
            return 0.0
        goes_on, second_goes_on = (other.startswith(text.rstrip("\ufffd")) for text in texts)
        gap = float(logits[0] - logits[1])
        if second_goes_on:
            parting = gap
        if not goes_on:
            return gap if parting is None else parting
        answer.append(int(tokens[0]))
        part = Part(0, part.end, np.asarray(answer[-1:], dtype=np.int32))
    return 0.0


if __name__ == "__main__":
    raise SystemExit(main())
