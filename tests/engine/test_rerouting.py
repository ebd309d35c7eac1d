"""The replay that measures re-routing: the text is the given one, and the place of the switch is known."""

import asyncio
import math

import numpy as np
import pytest
from cospec.speculation.request import Method
from cospec.speculation.types import DraftTree, SamplingParameters, VerifyRow
from cospec.training.rerouting import AFTER, BEFORE, Delay, ReplayVerifier, SwitchingText, report, switching_texts
from cospec.training.windows import Document


def test_a_replayed_text_is_said_whatever_is_drafted() -> None:
    verifier = ReplayVerifier(range(100, 150))
    tree = DraftTree((112, 999, 113, 7), (-1, -1, 0, 2))
    context = np.asarray([110, 111], dtype=np.int32)
    [result] = asyncio.run(verifier.verify([VerifyRow(1, 10, context, tree, SamplingParameters())]))
    assert result.tokens == (112, 113, 114) and result.path == (0, 2)
    assert result.committed_length == 14 and verifier.positions == [12]


def test_texts_switch_between_all_domains_with_long_responses() -> None:
    long, short = Document([1], list(range(100))), Document([2], [3])
    texts = switching_texts({"a": [long, short, long], "b": [long], "c": [short]}, 5)
    assert [(text.first, text.second) for text in texts] == [("a", "b"), ("b", "a")]
    assert all(len(text.output) == BEFORE + AFTER for text in texts)
    assert isinstance(texts[0], SwitchingText) and texts[0].prompt == [1]


def test_the_report_counts_rounds_from_the_switch(capsys: pytest.CaptureFixture[str]) -> None:
    report([Delay(1, 2), Delay(2, 3), Delay(3, 9), Delay(7, math.inf)], Method.TREE)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[2:5]]
    assert lines == [["1", "25.0%", "0.0%"], ["2", "50.0%", "25.0%"], ["3", "75.0%", "50.0%"]]
