"""The comparison of controllers: its figures, ratios and report, on answers made by hand; replays on a fake server."""

import json
import math
import random
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cospec_client import CospecError, Generation, PerfMetrics

from loadtests import adaptive
from loadtests.adaptive_plan import AUTO, CONTENDERS, FIXED, FULL, OFF, QUICK
from loadtests.adaptive_replay import Answer, Due, bursts, replay, summarize
from loadtests.adaptive_report import as_markdown, over_others, ratios, write_report
from loadtests.bench_plan import Mode
from loadtests.collab_cell import CollabCell, cell_of
from loadtests.environment import describe_environment, read_settings
from loadtests.json_process import CommandFailed
from loadtests.verifier_batches import BatchCounts
from loadtests.workload import Prompt

PROMPT = Prompt("code", "x")


def generation(accepted: int = 8, **metrics: Any) -> Generation:
    known = {"rounds": 4, "drafted_rounds": 2, "num_draft_tokens": 12, "num_accepted_tokens": accepted, **metrics}
    return Generation("same", 4, 12, "length", "", PerfMetrics(**known), 0.1, 0.5)


def cell(seconds: float) -> CollabCell:
    timed = {"timeline_ms": ((0.0, 2.0, 6.0), (6.0, 8.0, 16.0)), "predicted_ms": (6.0, 8.0)}
    return cell_of([(PROMPT, generation(routes=(("code", 2),), **timed))], seconds, BatchCounts(6, 3, {2: 3}))


def cells() -> adaptive.Cells:
    """Ours is twice as fast as off at 1, and as fast at 64; every fixed length loses there."""
    seconds = {(OFF, 1): 2.0, (OFF, 64): 1.0, (AUTO, 1): 1.0, (AUTO, 64): 1.0}
    return {
        (mode, level): [cell(seconds.get((mode, level), 1.25 if level == 1 else 2.0))]
        for mode in CONTENDERS
        for level in (1, 64)
    }


def replay_row(name: str, attainment: float, goodput: float) -> dict[str, Any]:
    figures = {"tokens_per_second": 90.0, "ttft_p99": 400.0, "tpot_p50": 40.0, "tpot_p99": 70.0, "failed": 0.0}
    told = {"attainment": attainment, "goodput": goodput * 1.1, "tokens_per_second": 88.0, "tpot_p50": 0.04}
    row = {"contender": name, "rate": 4.0, "attainment": attainment, "goodput": goodput, "simulated": told}
    return {**row, **figures, "sent_late_p99": 1.0, "mean_acceptance_length": 3.0, "requests": 50}


def result() -> dict[str, Any]:
    measured = cells()
    pair = {
        "name": "bundle",
        "num_parameters": 23_000_000,
        "max_tokens": 32,
        "replay_tokens": 16,
        "promises_ms": {"ttft": 500.0, "tpot": 30.0},
        **adaptive.sweep_result(measured),
        "replays": [
            replay_row(OFF.name, 0.7, 2.0),
            replay_row(FIXED[1].name, 0.5, 1.0),
            replay_row(AUTO.name, 0.95, 3.0),
        ],
    }
    return {"pairs": [pair], **describe_environment(read_settings())}


def test_ratios_are_of_the_best_at_each_load_and_of_the_best_fixed_length() -> None:
    found = {ratio.name: ratio.value for ratio in ratios(result()["pairs"][0])}
    assert found["least, ours / best of all at the same concurrency"] == pytest.approx(1.0)
    assert found["least, ours / off at the same concurrency"] == pytest.approx(1.0)
    assert found["geometric mean, ours / best fixed"] == pytest.approx((1.25 * 2.0) ** 0.5)
    assert found["goodput at 4 requests/s, ours / best fixed"] == pytest.approx(3.0)
    assert found["simulator, median error of goodput"] == pytest.approx(0.1)


def test_a_ratio_is_of_cells_that_ran_in_the_same_minutes() -> None:
    slow_hour = [
        {"contender": name, "concurrency": 1, "rates": rates}
        for name, rates in {AUTO.name: [30.0, 300.0, 33.0], OFF.name: [10.0, 100.0, 30.0]}.items()
    ]
    assert over_others(slow_hour) == {OFF.name: {1: 3.0}}


def test_the_cost_models_error_is_of_rounds_that_it_had_not_seen() -> None:
    assert adaptive.cost_errors(cells()) == {"rounds": 32, "median": pytest.approx(0.1), "p90": pytest.approx(0.2)}


def test_what_was_drafted_is_told_by_load() -> None:
    [one, many] = adaptive.depths(cells())
    assert one == {"concurrency": 1, "drafted_share": 0.5, "draft_tokens_per_round": 3.0} and many["concurrency"] == 64


def test_the_report_is_the_same_from_its_file(tmp_path: Path) -> None:
    write_report(result(), tmp_path)
    names = ["adaptive.json", "adaptive.md", "adaptive_replays.png", "adaptive_sweep.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    text = (tmp_path / "adaptive.md").read_text()
    assert as_markdown(json.loads((tmp_path / "adaptive.json").read_text())) == text
    assert all(f"| {mode.name} |" in text for mode in CONTENDERS) and "nan" not in text.lower()


def test_a_sweep_meets_every_contender_at_every_load_in_every_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[tuple[Mode, int]] = []
    monkeypatch.setattr(
        adaptive, "run_collab_cell", lambda server, mode, level, *rest, **more: turns.append((mode, level))
    )
    adaptive.sweep(None, FULL.costly, "pair", random.Random(0))  # type: ignore[arg-type]
    assert sorted(map(str, turns)) == sorted(
        str((mode, level)) for mode in CONTENDERS for level in FULL.costly.prompts for _ in range(2)
    )
    blocks = [turns[at : at + len(CONTENDERS)] for at in range(0, len(turns), len(CONTENDERS))]
    assert all(len({level for _, level in block}) == 1 and len(set(block)) == len(CONTENDERS) for block in blocks)
    assert QUICK.with_repeats(3).bundle.repeats == 3


def test_bursts_repeat_and_come_at_about_their_rate() -> None:
    dues = bursts(50.0, 60.0, [PROMPT], 32, seed=1)
    assert dues == bursts(50.0, 60.0, [PROMPT], 32, seed=1)
    assert 2_000 < len(dues) < 4_200 and all(4 <= due.max_tokens <= 64 for due in dues)
    assert all(one.at <= other.at for one, other in pairwise(dues))


class Server:
    def __init__(self, failing: int = 0) -> None:
        self.failing = failing
        self.asked: list[dict[str, Any]] = []

    def generate(self, prompt: str, **fields: Any) -> Generation:
        self.asked.append(fields)
        if len(self.asked) <= self.failing:
            raise CospecError("UNAVAILABLE", "full")
        time.sleep(0.01)
        return generation()


def test_a_replay_counts_from_when_requests_were_due_and_tells_the_promises() -> None:
    server = Server()
    dues = [Due(0.01 * number, PROMPT, 8) for number in range(5)]
    answers, seconds = replay(server, AUTO, dues, 0.5, 0.05)  # type: ignore[arg-type]
    assert len(answers) == 5 and seconds >= 0.05
    assert all(answer.ttft >= 0.1 and answer.sent_late >= 0 for answer in answers)
    assert server.asked[0]["slo_ttft_ms"] == 500.0 and server.asked[0]["slo_tpot_ms"] == 50.0


def test_requests_that_fail_keep_no_promise() -> None:
    answers, seconds = replay(Server(failing=2), AUTO, [Due(0.0, PROMPT, 8)] * 4, 9.0, 9.0)  # type: ignore[arg-type]
    found = summarize(answers, seconds, 9.0, 9.0)
    assert found.attainment == 0.5 and found.failed == 0.5


def test_a_replay_of_which_nothing_was_answered_has_no_times() -> None:
    found = summarize([Answer(Due(0, PROMPT, 8), None)], 1.0, 0.5, 0.05)
    assert (found.attainment, found.failed) == (0.0, 1.0) and math.isnan(found.ttft_p99)


def test_a_promise_is_kept_by_both_times() -> None:
    kept = Answer(Due(0, PROMPT, 8), generation(), ttft=0.4, tpot=0.03)
    assert kept.keeps(0.5, 0.05) and not kept.keeps(0.3, 0.05) and not kept.keeps(0.5, 0.02)


def test_settings_that_cannot_be_read_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise CommandFailed("the settings (exit code 2): wrong")

    monkeypatch.setattr(adaptive, "measure_pair", pytest.fail)
    monkeypatch.setattr(adaptive, "read_settings", refuse)
    assert adaptive.main(["--pairs", "bundle", "--quick"]) == 1
    assert capsys.readouterr().err == "bench-adaptive: the settings (exit code 2): wrong\n"


def test_what_is_not_measured_again_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = result()
    write_report({**before, "pairs": [*before["pairs"], {**before["pairs"][0], "name": "larger"}]}, tmp_path)
    anew = [replay_row(mode.name, 0.5, 1.0) for mode in (OFF, FIXED[1], AUTO)]
    monkeypatch.setattr(adaptive, "measure_pair", lambda *_: {"name": "bundle", "replays": anew})
    assert adaptive.main(["--pairs", "bundle", "--parts", "replay", "--output", str(tmp_path)]) == 0
    bundle, larger = json.loads((tmp_path / "adaptive.json").read_text())["pairs"]
    assert bundle["replays"] == anew and bundle["sweep"] and larger["replays"] != anew


def test_what_another_machine_measured_does_not_stay(tmp_path: Path) -> None:
    elsewhere = {**result(), "machine": {"processor": "another"}}
    write_report(elsewhere, tmp_path)
    assert adaptive.earlier(tmp_path, describe_environment(read_settings())) == {}


def test_an_unknown_pair_is_refused_before_anything_starts(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        adaptive.main(["--pairs", "elsewhere"])
    assert "--pairs must name some of bundle; got elsewhere" in capsys.readouterr().err
