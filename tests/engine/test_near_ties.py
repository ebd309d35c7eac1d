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


def greedy(model: LanguageModel, count: int) -> tuple[list[int], list[float]]:
    """The answer to `PROMPT`, and at each of its tokens the gap to the second best."""
    tokens, gaps = list(PROMPT), []
    for _ in range(count):
        [logits] = model.logits(assemble(model, [Part(1, 0, np.asarray(tokens, dtype=np.int32))]))
        best, second = logits.topk(2).values.tolist()
        gaps.append(best - second)
        tokens.append(int(logits.argmax()))
    return tokens[len(PROMPT) :], gaps


def other_than(letter: str) -> str:
    return "a" if letter != "a" else "b"


def test_the_gap_is_that_of_the_first_different_token(checkpoint: Directory) -> None:
    model = load(checkpoint("llama"))
    tokens, gaps = greedy(model, 4)
    answer = decode(tokens)
    assert gap_where_they_part(model, PROMPT, answer, decode) == 0.0
    found = gap_where_they_part(model, PROMPT, answer[:2] + other_than(answer[2]) + answer[3:], decode)
    assert found == pytest.approx(gaps[2], rel=1e-3, abs=1e-3)


def test_an_ignored_end_of_text_may_be_where_they_part(checkpoint: Directory) -> None:
    model = load(checkpoint("llama"))
    tokens, gaps = greedy(model, 4)
    at = min(range(1, 3), key=gaps.__getitem__)
    assert tokens.index(tokens[at]) == at and gaps[at] < gaps[at + 1], "the tiny model's answer does not suit this test"

    def without_ends(shown: Sequence[int]) -> str:
        return decode([token for token in shown if token != tokens[at]])

    answer = without_ends(tokens)
    other = answer[:at] + other_than(answer[at]) + answer[at + 1 :]
    assert gap_where_they_part(model, PROMPT, other, without_ends) == pytest.approx(gaps[at], rel=1e-3, abs=1e-3)
