"""What is written of runs: report, JSON, CSV; of sweeps; of runs side by side."""

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from loadtests.bad_input import BadInput
from loadtests.generator.plan import Plan
from loadtests.generator.record import FAILED, Record
from loadtests.slo import guard
from loadtests.slo.axes import label, linear, logarithmic
from loadtests.slo.bisection import Search, find_knees
from loadtests.slo.cli import main
from loadtests.slo.comparison import as_table, as_text, read_runs
from loadtests.slo.outcome import Outcome, outcome_of
from loadtests.slo.records_file import read_records, write_records
from loadtests.slo.report import as_html, write_run
from loadtests.slo.svg import Line, bar_chart, line_chart, stacked_chart
from loadtests.slo.sweep import SweepPlan, Trial, as_json, headline, knee_ratios
from loadtests.slo.sweep_report import write_sweep

ALONE = {"tokens_per_second": 300.0, "off_tokens_per_second": 150.0, "ttft_ms": 10.0, "tpot_ms": 2.0}
FACTS = {"alone": ALONE, "verifier": "bundle", "settings": None, "server": {"address": "x:1"}, "started": "now"}


def records(count: int = 60, latency: float = 0.4, **values: Any) -> list[Record]:
    drafted: dict[str, Any] = {
        "drafted_rounds": 4,
        "num_draft_tokens": 16,
        "num_accepted_tokens": 9,
        "accepted_per_depth": (4, 3, 2),
        "drafter_shares": {"code": 0.75, "chat": 0.25},
        "gaps": (0.01, 0.02),
    }
    return [
        Record(
            at=number * 0.2,
            lag=0.001,
            domain="code" if number % 2 else "math",
            slo_class=("interactive", "standard", "batch")[number % 3],
            **{"ttft": 0.02 + number / 1e4, "latency": latency, "output_tokens": 40, **drafted, **values},
        )
        for number in range(count)
    ]


def outcome(speculation: str = "auto", baseline: Mapping[str, Any] | None = None, **values: Any) -> Outcome:
    plan = Plan(rate=5.0, duration=10.0, warm_up=2.0, speculation=speculation)
    return outcome_of(records(**values), plan, FACTS, baseline)


def charts(html: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]


def test_a_report_needs_nothing_beside_it_and_every_chart_is_well_formed() -> None:
    html = as_html(outcome())
    assert len(charts(html)) == 11
    assert not re.search(r'(src|href)="', html) and "@import" not in html and "url(" not in html
    assert html.index("PASS") < html.index("<svg")


def test_a_report_of_a_run_in_which_everything_failed_is_still_one() -> None:
    failed = outcome(outcome=FAILED, error="<script>alert(1)</script>")
    html = as_html(failed)
    assert failed.verdict.status == "FAIL" and "&lt;script&gt;" in html and "<script" not in html
    assert charts(html)


def test_a_run_is_three_files_with_what_is_needed_to_do_it_again(tmp_path: Path) -> None:
    write_run(outcome(), tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["report.html", "requests.csv", "result.json"]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert {"plan", "machine", "versions", "settings", "figures", "gate", "verdict", "guard"} <= result.keys()
    assert result["plan"]["load_seed"] == 0 and result["versions"]["locust"]
    with (tmp_path / "run" / "requests.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60 and [row["counted"] for row in rows].count("0") == 10
    assert rows[0]["ttft_ms"] == "20.000"


def test_records_survive_the_way_between_processes(tmp_path: Path) -> None:
    write_records(records(), tmp_path / "records.jsonl")
    assert read_records(tmp_path / "records.jsonl") == records()


def test_a_regression_fails_a_run_that_passes_its_gate() -> None:
    good = outcome()
    ratios = {name: {"value": value, "tolerance": 0.1} for name, value in good.result["ratios"].items()}
    baseline = {**guard.kept(good.result), "ratios": ratios}
    assert outcome(baseline=baseline).verdict.status == "PASS"
    slower = outcome(baseline=baseline, latency=0.8)
    assert slower.verdict.status == "FAIL" and "TPOT p50 under load over alone" in slower.verdict.reasons[0]
    elsewhere = {**baseline, "processor": "another"}
    assert outcome(baseline=elsewhere, latency=0.8).verdict.status == "PASS", "shown, and not held against it"


def test_runs_are_compared_with_the_first_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for speculation, latency in (("off", 0.8), ("auto", 0.4)):
        write_run(outcome(speculation, latency=latency), tmp_path / speculation)
    runs = read_runs([tmp_path / "off", tmp_path / "auto" / "result.json"])
    table = {row[0]: row[1:] for row in as_table(runs)}
    assert table[""] == ["off", "auto"] and table["end to end p50"] == ["800 ms", "400 ms  0.50x"]
    assert "other" not in as_text(runs)
    assert main(["compare", str(tmp_path / "off"), str(tmp_path / "auto"), "--html", str(tmp_path / "c.html")]) == 0
    assert "end to end p50" in capsys.readouterr().out
    assert len(charts((tmp_path / "c.html").read_text())) == 6


def test_what_is_no_run_is_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "result.json").write_text("[]")
    with pytest.raises(BadInput, match="is no run"):
        read_runs([tmp_path])
    assert main(["compare", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "loadtest: compare needs at least two runs\n"


def test_a_sweep_names_each_ways_knee_and_their_ratios(tmp_path: Path) -> None:
    how = SweepPlan(start=4.0, precision=0.3)
    limits = {"off": 6.0, "fixed k=2": 5.0, "fixed k=4": 7.0, "auto": 12.0}

    fast, slow = Trial(outcome(), 0.99), Trial(outcome(latency=99.0), 0.99)
    searches: dict[str, Search[Trial]] = {name: Search(4.0, 0.05, 2000.0, how.precision, 2) for name in limits}
    *_, knees = find_knees(searches, lambda name, rate, attempt: fast if rate <= limits[name] else slow)
    result = as_json(knees, Plan(), how)
    report = write_sweep(result, tmp_path)
    assert [row["knee_rps"] <= limits[row["mode"]] < row["not_attained_rps"] for row in result["modes"]] == [True] * 4
    assert result["ratios"]["auto over off"] > 1.5
    assert len(charts(report.read_text())) == 6
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "sweep.json", "sweep.csv"}


def test_the_headline_takes_the_best_fixed_length() -> None:
    line = headline({"off": 10.0, "fixed k=2": 8.0, "fixed k=4": 12.0, "auto": 15.0})
    assert line == (
        "KNEE  requests/s: off 10.00, fixed k=4 12.00, auto 15.00; auto is 1.50x off, 1.25x the best fixed length"
    )


def test_fixed_lengths_are_compared_by_who_drafts_them() -> None:
    how = SweepPlan(fixed=(2, 4), by=("routed", "own", "chat"))
    names = ["off", "fixed k=2", "fixed k=4", "own k=2", "own k=4", "chat k=2", "chat k=4", "auto"]
    assert [mode.name for mode in how.modes] == names
    assert [mode.speculation for mode in how.modes[1::2]] == ["routed:2", "fixed:{domain}:2", "fixed:chat:2", "auto"]
    rates = dict(zip(names, (10.0, 8.0, 12.0, 15.0, 7.5, 6.0, 5.0, 15.0), strict=True))
    assert knee_ratios(rates) == {
        "auto over off": 1.5,
        "auto over the best fixed length": 1.25,
        "auto over the best own length": 1.0,
        "auto over the best chat length": 2.5,
    }
    assert "off 10.00, fixed k=4 12.00, own k=2 15.00, chat k=2 6.00, auto 15.00" in headline(rates)


def test_fixed_lengths_are_also_asked_without_telling_their_promises() -> None:
    how = SweepPlan(fixed=(2, 4), untold=True)
    untold = [mode.name for mode in how.modes if mode.promises == "untold"]
    assert untold == ["untold fixed k=2", "untold fixed k=4"] and how.modes[-1].promises == "told"
    rates = dict(zip((mode.name for mode in how.modes), (3.0, 7.0, 6.0, 4.0, 5.0, 8.0), strict=True))
    assert knee_ratios(rates)["auto over the best untold fixed length"] == 1.6


def test_axes_are_round_and_hold_their_values() -> None:
    scale = linear([0.0, 37.0], 0, 100)
    assert scale(0) == 0 and scale(37) < 100 and scale.ticks() == [0, 10, 20, 30, 40]
    wide = logarithmic([0.5, 2000.0], 0, 100)
    assert (wide(0.5), wide(2000), wide(1e9)) == (0, 100, 100) and wide.ticks() == [1, 10, 100, 1000]
    assert [label(value) for value in (0.25, 12.0, 1500.0, 20_000.0)] == ["0.25", "12", "1.5k", "20k"]


def test_charts_of_nothing_say_so_and_gaps_stay_gaps() -> None:
    assert "nothing" in line_chart([Line("x", [(1.0, None)], 1)], "s", "ms")
    assert "nothing" in bar_chart({}, {}) and "nothing" in stacked_chart({}, {})
    chart = line_chart([Line("x", [(0.0, 1.0), (1.0, 2.0), (2.0, None), (3.0, 1.0), (4.0, 1.0)], 1)], "s", "ms")
    [path] = [each for each in ElementTree.fromstring(chart).iter() if each.tag.endswith("path")]
    assert path.attrib["d"].count("M") == 2
