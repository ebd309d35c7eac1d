"""The demo's comparison, over a client made of a script."""

from collections.abc import Iterator
from typing import Any

import pytest
from cospec_client import Chunk, PerfMetrics

from loadtests import demo
from loadtests.demo import Row, table
from loadtests.workload import Prompt


class ScriptedClient:
    """Says the same with speculation off and auto, or not."""

    def __init__(self, same: bool) -> None:
        self.same = same
        self.modes: list[str] = []

    def stream(self, prompt: str, **options: Any) -> Iterator[Chunk]:
        self.modes.append(options["speculation"])
        text = "b" if self.same or options["speculation"] == "off" else "c"
        metrics = PerfMetrics(mean_acceptance_length=2.5, drafter_shares={"math": 0.2, "code": 0.8})
        yield Chunk(text="a", num_tokens=1, num_input_tokens=2)
        yield Chunk(text=text, num_tokens=2, num_input_tokens=2, finish_reason="length", perf_metrics=metrics)


@pytest.mark.parametrize("same", [True, False])
def test_a_row_compares_texts_and_interleaves_the_modes(same: bool) -> None:
    client = ScriptedClient(same)
    row = demo.compare(client, Prompt("code", "x"), repeats=3)  # type: ignore[arg-type]
    assert (row.domain, row.drafter, row.identical) == ("code", "code", same)
    assert row.mean_acceptance_length == 2.5 and row.off > 0 and row.on > 0
    assert client.modes == ["off", "auto"] * 3


def test_both_answers_are_shown_as_they_come(capsys: pytest.CaptureFixture[str]) -> None:
    demo.show(ScriptedClient(True), Prompt("code", "def f():"))  # type: ignore[arg-type]
    text = capsys.readouterr().out
    assert "def f():" in text and text.count("\nab\n") == 2
    assert text.index("[speculation off]") < text.index("[speculation auto]")


def test_the_table_says_clearly_whether_texts_are_identical() -> None:
    same = Row("code", "code", off=50, on=100, mean_acceptance_length=2.5, identical=True)
    other = Row("math", "chat", off=50, on=40, mean_acceptance_length=1.5, identical=False)
    assert "2.00x" in table([same]) and "all 1 texts are identical" in table([same])
    assert "TEXTS DIFFER between speculation off and on: math" in table([same, other])


def test_no_server_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--url", "localhost:1"]) == 1
    assert capsys.readouterr().err.startswith("demo: ")
