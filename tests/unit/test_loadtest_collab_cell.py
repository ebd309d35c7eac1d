"""Figures of one cell of the ablation: stages, rounds, passes and batches, on answers made by hand."""

from typing import Any

import pytest
from cospec_client import Generation, PerfMetrics

from loadtests import collab_cell
from loadtests.bench_plan import Answers, Mode
from loadtests.collab_cell import Server, accepted_shares, cell_of, first_right_round, run_collab_cell
from loadtests.timelines import first_wave, overlap_share
from loadtests.verifier_batches import BatchCounts, parse_counts, total
from loadtests.workload import Prompt

ROUND = [(0.0, 2.0, 6.0), (6.0, 8.0, 10.0)]


def generation(tokens: int = 12, accepted: int = 8, text: str = "same", **metrics: Any) -> Generation:
    known = {"rounds": 3, "drafted_rounds": 2, "num_accepted_tokens": accepted, "orchestrator_share": 0.1, **metrics}
    return Generation(text, 4, tokens, "length", "", PerfMetrics(**known), 0.1, 0.5)


def test_stages_overlap_where_one_requests_draft_meets_anothers_verification() -> None:
    assert overlap_share([ROUND]) == 0
    assert overlap_share([ROUND, ROUND]) == 0  # a group's members share their moments
    assert overlap_share([ROUND, [(4.0, 7.0, 8.0)]]) == pytest.approx(0.3)  # 4..6 and 7..8, of 10
    assert overlap_share([]) == 0 and overlap_share([[(1.0, 1.0, 1.0)]]) == 0


def test_the_picture_shows_those_that_began_first_on_a_clock_of_their_own() -> None:
    late, early = [[9.0, 10.0, 11.0]], [[5.0, 6.0, 7.0]]
    assert first_wave([late, [], early], 8) == [[[0.0, 1.0, 2.0]], [[4.0, 5.0, 6.0]]]
    assert first_wave([late, early], 1) == [[[0.0, 1.0, 2.0]]]


@pytest.mark.parametrize(
    "routes, number",
    [
        ((("none", 1), ("code+math", 2)), 1),
        ((("chat", 2), ("code", 1)), 3),
        ((("chat+code", 3), ("code", 1)), 4),
        ((("none", 5),), None),
        ((("codex", 1),), None),
    ],
)
def test_rounds_are_counted_up_to_the_first_that_the_right_drafter_led(
    routes: tuple[tuple[str, int], ...], number: int | None
) -> None:
    assert first_right_round(routes, "code") == number


def test_a_request_that_finds_its_drafter_late_counts_for_three_rounds_and_not_for_the_first() -> None:
    answers: Answers = [(Prompt("code", "x"), generation(routes=(("chat", 2), ("code", 1))))]
    answers += [(Prompt("chat", "y"), generation(routes=(("chat", 2),)))]
    found = cell_of(answers, 1.0, BatchCounts()).cooperation
    assert (found.right_at_first, found.right_within_three) == (0.5, 1.0)


def test_every_token_but_the_accepted_costs_a_pass_however_many_a_call_brings() -> None:
    drafted = cell_of([(Prompt("code", "x"), generation(12, 8))], 1.0, BatchCounts())
    assert drafted.cooperation.tokens_per_pass == 3
    plain = cell_of([(Prompt("code", "x"), generation(64, 0, rounds=16, drafted_rounds=0))], 1.0, BatchCounts())
    assert plain.cooperation.tokens_per_pass == 1


def test_shares_of_accepted_tokens_are_weighted_by_them() -> None:
    one = PerfMetrics(num_accepted_tokens=30, accepted_shares={"chat": 1.0})
    other = PerfMetrics(num_accepted_tokens=10, accepted_shares={"chat": 0.5, "code": 0.5})
    assert accepted_shares([one, other, PerfMetrics()]) == {"chat": 0.875, "code": 0.125}


def test_tritons_statistics_are_counted_from_one_moment_to_another() -> None:
    batch = {"batch_size": "4", "compute_infer": {"count": "2", "ns": "5"}}
    before = parse_counts({"model_stats": [{"name": "verifier"}]})
    after = parse_counts({"model_stats": [{"inference_count": "8", "execution_count": "2", "batch_stats": [batch]}]})
    assert before == BatchCounts() and before.rows_per_execution == 0
    assert after.since(before) == BatchCounts(8, 2, {4: 2}) and after.since(after).histogram == {}
    assert total([after, BatchCounts(3, 3, {1: 3})]) == BatchCounts(11, 5, {1: 3, 4: 2})


def test_a_cell_is_asked_with_its_temperature_and_holds_what_the_verifier_did(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter([BatchCounts(5, 5, {1: 5}), BatchCounts(9, 7, {1: 5, 2: 2})])
    monkeypatch.setattr(collab_cell, "read_counts", lambda url: next(counts))
    asked: list[dict[str, Any]] = []

    class Client:
        def generate(self, prompt: str, **options: Any) -> Generation:
            asked.append(options)
            return generation()

    server = Server("nowhere", Client())  # type: ignore[arg-type]
    found = run_collab_cell(server, Mode("own", "fixed:{domain}:8"), 1, [Prompt("math", "x")], 7, 0.7)
    assert (asked[0]["speculation"], asked[0]["temperature"], asked[0]["max_tokens"]) == ("fixed:math:8", 0.7, 7)
    assert found.batches == BatchCounts(4, 2, {2: 2})
