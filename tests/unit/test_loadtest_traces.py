"""Recorded traffic, read and made to fit."""

import json
from pathlib import Path

import pytest

from loadtests.bad_input import BadInput
from loadtests.generator.traces import Row, mean_rate, read_trace, replayed

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
2023-11-16 18:17:07.97996,110,27
"""
ROWS = [Row(0, 1000, 100), Row(4, 500, 50), Row(10, 3000, 200), Row(20, 10, 1)]


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_azures_csv_counts_from_its_first_request(tmp_path: Path) -> None:
    rows = read_trace(written(tmp_path, "azure.csv", AZURE))
    assert [row.at for row in rows] == pytest.approx([0, 0.052, 4.0], abs=1e-5)
    assert [(row.input_tokens, row.output_tokens) for row in rows] == [(4808, 10), (3180, 8), (110, 27)]


def test_azures_later_traces_name_their_time_zone(tmp_path: Path) -> None:
    text = (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,1,2\n2024-05-10 00:00:01+00:00,3,4\n"
    )
    assert [row.at for row in read_trace(written(tmp_path, "a.csv", text))] == pytest.approx([0, 0.99007])


def test_mooncakes_jsonl_is_in_milliseconds(tmp_path: Path) -> None:
    lines = [
        {"timestamp": 27482 + 3000 * n, "input_length": 6955, "output_length": 52, "hash_ids": [46]} for n in (0, 1)
    ]
    rows = read_trace(written(tmp_path, "mooncake.jsonl", "\n".join(map(json.dumps, lines)) + "\n"))
    assert rows == [Row(0, 6955, 52), Row(3, 6955, 52)]


def test_a_trace_is_scaled_to_the_rate_or_by_its_own_speed() -> None:
    assert mean_rate(ROWS) == pytest.approx(0.15)
    by_rate = replayed(ROWS, rate=1.5, speed=0, skip=0, duration=100, context=10_000)
    assert [row.at for row in by_rate] == pytest.approx([0, 0.4, 1, 2])
    by_speed = replayed(ROWS, rate=99, speed=2, skip=0, duration=100, context=10_000)
    assert [row.at for row in by_speed] == pytest.approx([0, 2, 5, 10])


def test_a_part_of_a_trace_begins_where_it_is_told_and_ends_with_the_duration() -> None:
    part = replayed(ROWS, rate=1, speed=1, skip=3, duration=10, context=10_000)
    assert [(row.at, row.input_tokens) for row in part] == [(1, 500), (7, 3000)]


def test_lengths_shrink_alike_until_the_longest_fits_the_context() -> None:
    rows = replayed(ROWS, rate=1, speed=1, skip=0, duration=100, context=377)
    assert all(row.input_tokens + row.output_tokens <= 0.85 * 377 for row in rows)
    assert rows[2] == Row(10, 300, 20) and rows[0] == Row(0, 100, 10)
    assert rows[3] == Row(20, 1, 1), "no request vanishes"
    assert replayed(ROWS, rate=1, speed=1, skip=0, duration=100, context=9999)[0].input_tokens == 1000


def test_one_outlier_does_not_make_all_others_short() -> None:
    rows = replayed(
        [*[Row(n, 90, 10) for n in range(200)], Row(200, 9000, 1000)],
        rate=1,
        speed=1,
        skip=0,
        duration=999,
        context=118,
    )
    assert rows[0] == Row(0, 90, 10) and rows[-1] == Row(200, 90, 10)


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("t.csv", "", "holds no request"),
        ("t.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n", "holds no request"),
        ("t.csv", "TIMESTAMP,ContextTokens\n2023-11-16 18:17:03,1\n", "the header lacks GeneratedTokens"),
        ("t.csv", AZURE + "2023-11-16 18:17:05.0,1,1\n", "line 5: time runs backwards"),
        ("t.csv", AZURE + "yesterday,1,1\n", "line 5 is no request"),
        ("t.csv", AZURE + "2023-11-16 18:17:09.0,-4,1\n", "line 5 has a negative length"),
        ("t.jsonl", '{"timestamp": 1, "input_length": 2}\n', "line 1 must be a JSON object with timestamp"),
        ("t.jsonl", "[]\n", "line 1 must be a JSON object"),
        ("t.jsonl", "\n", "holds no request"),
        ("t.parquet", "PAR1", r"must end in \.csv"),
    ],
)
def test_a_trace_that_cannot_be_read_is_refused_naming_file_and_line(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    with pytest.raises(BadInput, match=words) as error:
        read_trace(written(tmp_path, name, text))
    assert name in str(error.value) and "\n" not in str(error.value)


def test_a_missing_trace_and_an_empty_part_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        read_trace(tmp_path / "none.csv")
    with pytest.raises(BadInput, match="no request in 5 s after its first 100 s"):
        replayed(ROWS, rate=1, speed=1, skip=100, duration=5, context=1184)
