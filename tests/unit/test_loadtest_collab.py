"""The ablation of cooperative drafting: its plan, figures, ratios and report, on answers and figures made by hand."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from cospec_client import Generation, PerfMetrics

from loadtests import collab, collab_pair
from loadtests.collab_bls import bls_rows
from loadtests.collab_cell import CollabCell, cell_of
from loadtests.collab_pair import best_single, expected_texts, repeat, rows, scan, scan_rows, timelines
from loadtests.collab_plan import (
    ALONE,
    FULL,
    FUSED,
    OFF,
    PARTS,
    PIPELINED,
    QUICK,
    SERVERS,
    Place,
    fixed,
    ladder,
)
from loadtests.collab_plots import bars
from loadtests.collab_ratios import ratios
from loadtests.collab_report import as_markdown, write_report
from loadtests.environment import DEFAULT_SETTINGS, describe_environment, read_settings
from loadtests.json_process import CommandFailed
from loadtests.settings_file import merged, read_changes, write_changed
from loadtests.verifier_batches import BatchCounts
from loadtests.workload import DOMAINS, MIXED, Prompt

CHANGES = {"speculation": {"num_nodes": 24}, "serving": {"max_verify_tokens": 64}}
ROUND = [(0.0, 2.0, 6.0), (6.0, 8.0, 10.0)]


def generation(tokens: int = 12, accepted: int = 8, text: str = "same", **metrics: Any) -> Generation:
    known = {"rounds": 3, "drafted_rounds": 2, "num_accepted_tokens": accepted, "orchestrator_share": 0.1, **metrics}
    return Generation(text, 4, tokens, "length", "", PerfMetrics(**known), 0.1, 0.5)


def cell(seconds: float = 1.0, domain: str = "code", **metrics: Any) -> CollabCell:
    metrics = {"routes": (("none", 1), ("code+math", 2)), "timeline_ms": tuple(ROUND), **metrics}
    return cell_of([(Prompt(domain, "x"), generation(**metrics))], seconds, BatchCounts(6, 3, {2: 3}))


# --- the plan ---


def test_the_ladder_climbs_from_off_to_the_pipeline_at_one_depth() -> None:
    rungs = ladder(6, fixed("chat", 4))
    assert [rung.speculation for rung in rungs] == [
        *(
            "off",
            "fixed:chat:4",
            "routed:6",
            "tree:6",
            "lockstep:6",
            "vote:6",
            "tree:6+lookup",
            "tree:6+lookup",
            "auto",
        ),
    ]
    assert [rung.speculation for rung in rungs if rung.server == PIPELINED] == ["tree:6+lookup"]
    assert {*FUSED} < {rung.name for rung in rungs}
    assert len({*rungs}) == 9


@pytest.mark.parametrize("plan", [FULL, QUICK])
def test_concurrencies_are_those_that_the_ratios_name(plan: Any) -> None:
    assert {1, 8, 32} <= {*plan.bundle.num_prompts} and {1, 16} <= {*plan.costly.num_prompts}
    assert {*plan.bls_prompts} == {1, 8, 32, 64}
    for pair in (plan.bundle, plan.costly):
        assert pair.num_prompts[1] % len(DOMAINS) == 0 and pair.scan_prompts % len(DOMAINS) == 0
        assert all(count >= concurrency for concurrency, count in pair.num_prompts.items())


def test_single_domains_are_measured_as_often_as_the_plan_says_and_parts_ask_for() -> None:
    plan = FULL.costly
    assert plan.places(PARTS, 0)[-5:] == [Place(domain, 1) for domain in DOMAINS]
    assert {place.domain for place in plan.places(PARTS, plan.domain_repeats)} == {MIXED}
    assert plan.places(("bls",), 0) == [] and len(plan.places(("domains",), 0)) == 5
    assert FULL.with_repeats(7).costly.repeats == 7 and FULL.with_repeats(None) == FULL


# --- measuring a pair ---


def fast(contender: str, concurrency: int) -> float:
    """Tokens per second."""
    base = {"off": 10, "routed:8": 24, "tree:8": 36, "lockstep:8": 20, "vote:8": 15, "tree:8+lookup": 40}
    return base.get(contender, 5.0 + (contender == "fixed:math:4") * 15 + (contender == "fixed:math:2")) * concurrency


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int, int]]:
    """(server, speculation, concurrency, prompts) of every cell, none of which is really run."""
    found: list[tuple[str, str, int, int]] = []

    def run(server: Any, mode: Any, concurrency: int, prompts: Any, max_tokens: int, temperature: float = 0.0) -> Any:
        found.append((server, mode.speculation, concurrency, len(prompts)))
        return cell(12 / fast(mode.speculation, concurrency), domain=prompts[0].domain)

    monkeypatch.setattr(collab_pair, "run_collab_cell", run)
    return found


def measured(plan: Any = QUICK.bundle) -> tuple[Any, Any]:
    scanned = scan(ALONE, plan, "pair")  # type: ignore[arg-type]
    servers: Any = {name: name for name in SERVERS}
    return scanned, repeat(servers, plan, scanned, PARTS, random.Random(0), "pair")


def test_one_drafter_is_the_best_for_all_and_its_draft_length_is_looked_for_at_every_load(asked: Any) -> None:
    scanned = scan(ALONE, FULL.bundle, "pair")  # type: ignore[arg-type]
    assert best_single(scanned, 1) == fixed("math", 4) == best_single(scanned, 32)
    assert sum(concurrency == 1 for _, concurrency in scanned) == len(DOMAINS) * 3
    assert {each.speculation for each, concurrency in scanned if concurrency == 8} == {
        f"fixed:math:{k}" for k in (2, 4, 8)
    }
    assert {prompts for *_, concurrency, prompts in asked if concurrency == 32} == {32}
    assert len(scan_rows(scanned)) == 15 + 3 + 3


def test_every_contender_is_at_every_place_on_its_own_server(asked: Any) -> None:
    _, cells = measured()
    places = QUICK.bundle.places(PARTS, 0)
    assert len(cells) == 9 * len(places) and {len(each) for each in cells.values()} == {1}
    assert {server for server, speculation, *_ in asked if speculation == "off"} == {ALONE}
    assert {server for server, speculation, *_ in asked if speculation == "tree:8+lookup"} == {ALONE, PIPELINED}


def test_texts_are_held_against_off_at_the_lowest_concurrency() -> None:
    def said(text: str) -> list[CollabCell]:
        return [cell_of([(Prompt("code", "x"), generation(text=text))], 1.0, BatchCounts())]

    cells = {(OFF, Place(MIXED, 1)): said("one"), (OFF, Place(MIXED, 8)): said("two")}
    assert expected_texts(cells) == {"x": "one"} == expected_texts(dict(reversed(cells.items())))
    assert [row["identical"] for row in rows(cells)] == [1, 0]


# --- the report ---


def result() -> dict[str, Any]:
    scanned, cells = measured()
    pair = {"name": "bundle", "is_bundle": True, "num_parameters": 23_000_000, "settings": {}, "rows": rows(cells)}
    pair |= {"repeats": 1, "max_tokens": 32, "scan": scan_rows(scanned), "timelines": timelines(cells, 8)}
    costly = {**pair, "name": "large", "is_bundle": False, "settings": CHANGES, "timelines": {}}
    costly["rows"] = [row for row in costly["rows"] if row["domain"] == MIXED]
    bls = bls_rows({("one call a group", OFF, 64): [cell()], ("one call a group", OFF, 8): [cell()]})
    noises = {
        f"{kind}_{what}": 0.5
        for kind in ("shared", "ratio_test", "matched")
        for what in ("acceptance_length", "agreement")
    }
    served = [{"contender": "routed", "temperature": 0.7, "mean_acceptance_length": 3.0}]
    return {
        "pairs": [pair, costly],
        "acceptance": {one: {other: 1 + (one == other) for other in DOMAINS} for one in DOMAINS},
        "routing": {"num_prompts": 50, "right_at_first": 0.9, "right_within_three": 1.0},
        "temperatures": {"served": served, "offline": {"temperatures": [{"temperature": 0.7, **noises}]}},
        "bls": bls,
        "nodes": [
            {"contender": name, "most_nodes": most, "nodes": 7, "mean_acceptance_length": length, "tokens_per_pass": 4}
            for name, most, length in (("routed", 8, 4.0), ("tree of one drafter", 32, 5.0), ("tree", 32, 6.0))
        ],
        **describe_environment(read_settings()),
    }


def test_the_ratios_are_of_the_figures_they_name(asked: Any) -> None:
    found = {ratio.name: ratio for ratio in ratios(result())}
    assert found["right drafter in the first round"].value == 0.9
    assert found["bundle: tokens/s at concurrency 1, tree + lookup over off"].value == pytest.approx(4)
    assert found["large: tokens/s at concurrency 1, tree + lookup over the best single drafter"].value == pytest.approx(
        2
    )
    unpriced = "mean acceptance length where nodes are not priced, tree of at most 32 over"
    assert found[f"{unpriced} routed"][1:] == (1.5, "≥ 1.15") and found[f"{unpriced} that of one drafter"].value == 1.2
    assert found["large: tokens/s at concurrency 1, tree + lookup over off"].goal == "≥ 3"
    assert found["bundle: tokens/s at concurrency 1, tree + lookup over off"].goal == ""  # set for a costly verifier
    assert found["bundle: mean acceptance length, tree over routed"].value == pytest.approx(1)
    assert found["bundle: orchestrator's share of the time at concurrency 32, tree + lookup"].goal == "≤ 0.15"


def test_the_report_has_every_cell_and_is_the_same_from_its_file(asked: Any, tmp_path: Path) -> None:
    write_report(result(), tmp_path)
    names = ["collab.json", "collab.md", "collab_acceptance.png", "collab_throughput.png", "collab_timelines.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    text = (tmp_path / "collab.md").read_text()
    assert as_markdown(json.loads((tmp_path / "collab.json").read_text())) == text
    assert text.count("| 100% |") == 2 * 9 * 3 and "23M" in text and '"num_nodes": 24' in text
    assert text.index("| off | 8 | one call a group") < text.index("| off | 64 | one call a group")
    assert "nan" not in text.lower()


def test_parts_that_were_not_measured_leave_no_empty_tables(tmp_path: Path) -> None:
    nothing = {"pairs": [], "acceptance": {}, "routing": {}, "temperatures": {}, "bls": [], "nodes": []}
    write_report({**nothing, **describe_environment(read_settings())}, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["collab.json", "collab.md"]
    assert "|" not in (tmp_path / "collab.md").read_text().replace("|---", "")


def test_bars_stand_in_the_ladders_order(asked: Any) -> None:
    drawn = [name for name, _ in bars(result()["pairs"][0], 8)]
    assert drawn[0] == "off" and drawn[-1] == FUSED[-1] and len(drawn) == 9


# --- settings and the command ---


def test_settings_are_the_shipped_ones_with_a_few_changed(tmp_path: Path) -> None:
    changes = merged(CHANGES, SERVERS[PIPELINED])
    path = write_changed(changes, tmp_path / "cospec.yaml")
    shipped, written = yaml.safe_load(DEFAULT_SETTINGS.read_text()), yaml.safe_load(path.read_text())
    assert written["speculation"]["num_nodes"] == 24 and written["serving"]["groups_in_flight"] == 2
    assert written["engine"] == shipped["engine"] and {*written} == {*shipped}
    assert "groups_in_flight" not in CHANGES["serving"]  # merging changes neither


def test_changes_that_are_no_mapping_are_refused_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "changes.yaml"
    path.write_text("width")
    with pytest.raises(ValueError, match="must be a mapping"):
        read_changes(path)
    path.write_text("a: [")
    with pytest.raises(ValueError, match="not valid YAML"):
        read_changes(path)


def test_an_unknown_pair_is_refused_before_anything_starts(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        collab.main(["--pairs", "elsewhere"])
    assert "--pairs must name some of bundle; got elsewhere" in capsys.readouterr().err


def test_a_failure_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fail(*_: Any) -> None:
        raise CommandFailed("it broke")

    monkeypatch.setattr(collab, "measure", fail)
    assert collab.main(["--quick", "--output", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "bench-collab: it broke\n" and not list(tmp_path.iterdir())
