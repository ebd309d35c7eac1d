"""The tool that tells how near two tokens were where two answers part."""

import string
from collections.abc import Sequence

import numpy as np
import torch
from cospec.engine.blocks import Part, assemble
from cospec.engine.near_ties import gap_where_they_part
from tiny import VOCAB, Directory, load, random_tokens

PROMPT = random_tokens(12).tolist()
LETTERS = (string.ascii_letters + string.digits + string.punctuation)[:VOCAB].ljust(VOCAB, "é")


def decode(tokens: Sequence[int]) -> str:
    return "".join(LETTERS[token] for token in tokens)


def test_the_gap_is_that_of_the_first_different_token(checkpoint: Directory) -> None:
    model = load(checkpoint("llama"))
    tokens, logits = list(PROMPT), []
    for _ in range(4):
        logits.append(model.logits(assemble(model, [Part(1, 0, np.asarray(tokens, dtype=np.int32))]))[0])
        tokens.append(int(logits[-1].argmax()))
    answer = decode(tokens[len(PROMPT) :])
    assert gap_where_they_part(model, PROMPT, answer, decode) == 0.0
    other = answer[:2] + ("a" if answer[2] != "a" else "b") + answer[3:]
    best = logits[2].topk(2).values
    found = gap_where_they_part(model, PROMPT, other, decode)
    torch.testing.assert_close(found, float(best[0] - best[1]), atol=1e-3, rtol=1e-3)
