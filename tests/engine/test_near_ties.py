"""The tool that tells how near two tokens were where two answers part."""

import string
from collections.abc import Sequence

import numpy as np
import pytest
from cospec.engine.blocks import Part, assemble
from cospec.engine.language_model import LanguageModel
from cospec.engine.near_ties import gap_where_they_part
from tiny import VOCAB, Directory, load, random_tokens

PROMPT = random_tokens(12).tolist()
LETTERS = (string.ascii_letters + string.digits + string.punctuation)[:VOCAB].ljust(VOCAB, "é")


def decode(tokens: Sequence[int]) -> str:
    return "".join(LETTERS[token] for token in tokens)


def greedy(model: LanguageModel, count: int) -> tuple[list[int], list[int], list[float]]:
    """The answer to `PROMPT`; at each of its tokens the second best, and the gap to it."""
    tokens, seconds, gaps = list(PROMPT), [], []
    for _ in range(count):
        [logits] = model.logits(assemble(model, [Part(1, 0, np.asarray(tokens, dtype=np.int32))]))
        top = logits.topk(2)
        gaps.append(float(top.values[0] - top.values[1]))
        seconds.append(int(top.indices[1]))
        tokens.append(int(top.indices[0]))
    return tokens[len(PROMPT) :], seconds, gaps


def test_the_gap_is_that_of_the_first_different_token(checkpoint: Directory) -> None:
    model = load(checkpoint("llama"))
    tokens, seconds, gaps = greedy(model, 4)
    assert gap_where_they_part(model, PROMPT, decode(tokens), decode) == 0.0
    other = decode([*tokens[:2], seconds[2], *tokens[3:]])
    assert gap_where_they_part(model, PROMPT, other, decode) == pytest.approx(gaps[2], rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("best", ["", "a"], ids=["shows nothing", "begins as the second does"])
def test_texts_may_part_later_than_tokens(checkpoint: Directory, best: str) -> None:
    model = load(checkpoint("llama"))
    tokens, seconds, gaps = greedy(model, 3)

    def shown(answer: Sequence[int]) -> str:
        texts = {tokens[1]: best, seconds[1]: "a?"}
        return "".join(texts.get(token, decode([token])) for token in answer)

    other = shown([tokens[0], seconds[1], tokens[2]])
    assert len({*tokens, seconds[1]}) == 4 and other.startswith(shown(tokens[:2]))
    assert gap_where_they_part(model, PROMPT, other, shown) == pytest.approx(gaps[1], rel=1e-3, abs=1e-3)
