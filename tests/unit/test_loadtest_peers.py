"""The comparison with other engines: its plan and report, on figures made by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from loadtests.bench_plan import Cell
from loadtests.metrics import Summary
from loadtests.pairs import num_parameters
from loadtests.peer_plan import COSPEC, FULL, OPENVINO, OWN, QUICK, Contender, best_of_each_drafter, finalists
from loadtests.peer_report import as_markdown, bars, ratios, write_report
from loadtests.peer_systems import cell_of
from loadtests.peers import expected_texts, rows, scan
from loadtests.workload import DOMAINS, Prompt

SCAN = {
    Contender(OPENVINO, "chat", 2): 30.0,
    Contender(OPENVINO, "chat", 5): 40.0,
    Contender(OPENVINO, "code", 2): 50.0,
    Contender(OPENVINO, "code", 5): 20.0,
}


def cell(rate: float, text: str = "same") -> Cell:
    return Cell(Summary(rate, 5, 2, 3, 1.5, 100), (("x", text),))


def cells() -> dict[tuple[Contender, int], list[Cell]]:
    single = {
        Contender(COSPEC): 100,
        Contender(COSPEC, "auto"): 200,
        Contender(OPENVINO): 50,
        Contender(OPENVINO, "code", 2): 80,
        Contender(OPENVINO, OWN, 2): 160,
    }
    eight = {Contender(COSPEC): 300, Contender(COSPEC, "auto"): 300, Contender(OPENVINO): 400}
    return {(c, 1): [cell(rate)] for c, rate in single.items()} | {(c, 8): [cell(rate)] for c, rate in eight.items()}


def pair() -> dict[str, Any]:
    return {
        "name": "bundle",
        "num_parameters": 23_000_000,
        "reference": COSPEC,
        "rows": rows(cells(), expected_texts(cells(), COSPEC)),
        "transformers": {"transformers": 25.0, "transformers assisted": 40.0},
        "peer_versions": {"openvino": "1.2.3"},
    }


def result() -> dict[str, Any]:
    machine = {"processor": "2 x abacus"}
    settings = {"dtype": "bfloat16"}
    return {"pairs": [pair()], "max_tokens": 64, "repeats": 3, "machine": machine, "settings": settings, "versions": {}}


@pytest.mark.parametrize("plan", [FULL, QUICK])
def test_every_drafter_is_looked_at_with_every_draft_length_on_all_domains_alike(plan: Any) -> None:
    for system in (COSPEC, OPENVINO):
        assert len(set(plan.scanned(system, 8))) == len(DOMAINS) * len(plan.draft_lengths)
    assert plan.num_scanned[1] % len(DOMAINS) == 0 and plan.num_prompts[1] % len(DOMAINS) == 0


def test_each_drafter_goes_on_at_its_own_best_draft_length() -> None:
    assert best_of_each_drafter(SCAN) == [Contender(OPENVINO, "chat", 5), Contender(OPENVINO, "code", 2)]


def test_where_an_engine_is_told_each_prompts_drafter_that_has_a_best_draft_length_of_its_own() -> None:
    told = {contender for contender in FULL.scanned(OPENVINO, 1) if contender.drafter == OWN}
    assert told == {Contender(OPENVINO, OWN, length) for length in FULL.draft_lengths}
    assert not any(contender.drafter == OWN for contender in (*FULL.scanned(OPENVINO, 8), *FULL.scanned(COSPEC, 1)))
    chosen = finalists(OPENVINO, {**SCAN, Contender(OPENVINO, OWN, 2): 60.0, Contender(OPENVINO, OWN, 8): 90.0})
    assert Contender(OPENVINO, OWN, 8) in chosen and Contender(OPENVINO, OWN, 2) not in chosen


def test_cospec_goes_on_with_off_its_best_fixed_drafter_and_auto() -> None:
    chosen = finalists(COSPEC, {Contender(COSPEC, each.drafter, each.num_draft_tokens): SCAN[each] for each in SCAN})
    assert [contender.mode.speculation for contender in chosen] == ["off", "fixed:code:2", "auto"]


def test_parts_that_ran_one_after_another_are_pooled() -> None:
    answer = {"tokens": [1, 2, 3, 4], "ttft": 0.1, "latency": 0.4, "num_steps": 2}
    parts = [([Prompt("chat", "a")], {"seconds": 1.0, "answers": [answer]})]
    parts += [([Prompt("code", "b")], {"seconds": 3.0, "answers": [answer]})]
    pooled = cell_of(parts, lambda tokens: str(len(tokens)))
    assert pooled.texts == (("a", "4"), ("b", "4"))
    assert pooled.summary.tokens_per_second == 2
    assert pooled.summary.mean_acceptance_length == 2  # eight tokens in four passes of the verifier


def test_the_scan_asks_every_system_at_every_concurrency() -> None:
    class Fixed:
        def run(self, contenders: Any, concurrency: int, prompts: Any, max_tokens: int) -> list[Cell]:
            return [cell(len(prompts) * contender.num_draft_tokens) for contender in contenders]

    rates = scan({OPENVINO: Fixed()}, QUICK, "pair")
    assert rates[Contender(OPENVINO, "code", 5), 1] == 25 and rates[Contender(OPENVINO, "code", 2), 8] == 16


def test_texts_are_held_against_the_plain_ones_of_one_request_at_a_time() -> None:
    measured = cells() | {(Contender(COSPEC), 8): [cell(1, "other")]}
    expected = expected_texts(measured, COSPEC)
    assert expected == {"x": "same"}
    shares = {(row["system"], row["drafter"], row["concurrency"]): row["identical"] for row in rows(measured, expected)}
    assert shares[COSPEC, "", 8] == 0 and shares[COSPEC, "auto", 8] == 1


def test_the_ratios_are_of_the_figures_they_name_losses_included() -> None:
    values = ratios(pair())
    assert values["auto over OpenVINO GenAI without a drafter, concurrency 1"] == 4
    assert values["auto over OpenVINO GenAI with its best single drafter, concurrency 1"] == 2.5
    assert values["auto over OpenVINO GenAI at its best, concurrency 8"] == 0.75
    assert values["auto over transformers assisted, concurrency 1"] == 5


def test_without_cospec_there_is_no_ratio_to_claim() -> None:
    peers = {**pair(), "rows": [row for row in pair()["rows"] if row["system"] != COSPEC]}
    assert ratios(peers) == {}


def test_the_report_is_three_files_with_a_row_for_every_cell(tmp_path: Path) -> None:
    write_report(result(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["peers.json", "peers.md", "peers.png"]
    text = (tmp_path / "peers.md").read_text()
    assert text.count("| 100% |") == len(cells()) and "23M" in text and "openvino 1.2.3" in text
    assert as_markdown(json.loads((tmp_path / "peers.json").read_text())) == text


def test_transformers_has_bars_only_where_it_was_measured() -> None:
    assert [engine for engine, _, _ in bars(pair(), 1)].count("transformers") == 2
    assert [engine for engine, _, _ in bars(pair(), 8)].count("transformers") == 0


def test_a_tied_head_is_counted_once(tmp_path: Path) -> None:
    tensors = {"__metadata__": {"format": "pt"}, "embed": {"shape": [4, 3]}, "lm_head.weight": {"shape": [4, 3]}}
    header = json.dumps(tensors).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (tmp_path / "config.json").write_text('{"tie_word_embeddings": true}')
    assert num_parameters(tmp_path) == 12
    (tmp_path / "config.json").write_text('{"tie_word_embeddings": false}')
    assert num_parameters(tmp_path) == 24
