"""Public traces, read for a plan."""

from pathlib import Path

import pytest
from cospec.simulation.arrivals import Arrival, TraceError, fitted, read_trace


def test_public_traces_are_read_in_their_own_form(tmp_path: Path) -> None:
    azure, mooncake = tmp_path / "azure.csv", tmp_path / "mooncake.jsonl"
    azure.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,110,27\n"
    )
    mooncake.write_text(
        '{"timestamp": 0, "input_length": 5, "output_length": 6}\n'
        '{"timestamp": 3000.0, "input_length": 7, "output_length": 8}\n'
    )
    later, own = tmp_path / "azure_2024.csv", tmp_path / "own.jsonl"
    later.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00+00:00,1,2\n2024-05-10 00:00:00.250000+00:00,3,4\n"
    )
    own.write_text("".join(f'{{"arrival_s": {at}, "prompt_tokens": 1, "output_tokens": 2}}\n' for at in (1, 3)))
    assert [each.at for each in read_trace(later)] == pytest.approx([0.0, 0.25])
    assert [each.at for each in read_trace(own)] == [0.0, 2.0]

    assert [each.prompt_tokens for each in read_trace(azure)] == [4808, 110]
    assert read_trace(azure)[1].at == pytest.approx(0.052, abs=1e-4)
    assert read_trace(mooncake) == [Arrival(0.0, 5, 6), Arrival(3.0, 7, 8)]
    cut = fitted(read_trace(azure), speed=2.0, share=1.0, room=1024, seed=0)
    assert cut[0] == Arrival(0.0, 1014, 10) and cut[1].at == pytest.approx(0.026, abs=1e-4)


def test_only_what_does_not_fit_is_cut() -> None:
    lengths = [(300, 700), (300, 900), (4000, 400)]
    fits, long, longer = fitted([Arrival(0.0, *each) for each in lengths], 1.0, 1.0, room=1024, seed=0)
    assert (fits.prompt_tokens, fits.output_tokens) == (300, 700)
    assert (long.prompt_tokens, long.output_tokens) == (300, 724)
    assert (longer.prompt_tokens, longer.output_tokens) == (768, 256)


def test_a_line_that_is_no_object_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text("5\n")
    with pytest.raises(TraceError, match="arrival 1 is no JSON object: 5"):
        read_trace(path)


@pytest.mark.parametrize(
    ("text", "mentioned"),
    [
        ("TIMESTAMP,ContextTokens\n1,2\n", "has no column GeneratedTokens or output_length or output_tokens"),
        ("arrival_s,prompt_tokens,output_tokens\n2.5,1,1\n1.5,1,1\n", "arrival 2 comes before the one above it"),
        ("arrival_s,prompt_tokens,output_tokens\nsoon,1,1\n", "arrival 1 has no usable time"),
        ("arrival_s,prompt_tokens,output_tokens\n", "holds no arrival"),
    ],
)
def test_a_trace_that_cannot_be_used_is_named_with_its_fault(tmp_path: Path, text: str, mentioned: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(TraceError, match=mentioned):
        read_trace(path)
