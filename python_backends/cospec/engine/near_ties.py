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
    """Logit of the best token minus that of the second, at the first greedy token that `other` does not go on with.

    0.0 if greedy decoding, alone, gives all of `other`. An end of text that an answer ignores shows nothing: where one
    stands right before, it may be what the answers part at, and the lesser gap counts.
    """
    part = Part(0, 0, np.asarray(prompt, dtype=np.int32))
    answer: list[int] = []
    hidden: list[float] = []  # gaps of tokens that showed nothing, since the last that did
    before = ""
    while len(prompt) + len(answer) < model.max_length:
        best = model.logits(assemble(model, [part]))[0].topk(2)
        answer.append(int(best.indices[0]))
        text = decode(answer)
        if text.startswith(other):
            return 0.0
        gap = float(best.values[0] - best.values[1])
        if not other.startswith(text.rstrip("\ufffd")):
            return min([gap, *hidden])
        hidden = [*hidden, gap] if text == before else []
        before = text
        part = Part(0, part.end, np.asarray(answer[-1:], dtype=np.int32))
    return 0.0


if __name__ == "__main__":
    raise SystemExit(main())
