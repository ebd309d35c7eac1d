"""The benchmark's plan and report, on answers and figures made by hand."""

import threading
from pathlib import Path
from typing import Any

import pytest
from cospec_client import Generation, PerfMetrics

from loadtests import bench
from loadtests.bench import CommandFailed, Measurements, collect, identical_share
from loadtests.bench_plan import FULL, MODES, QUICK, Cell, run_cell
from loadtests.bench_report import as_markdown, ratios, write_report
from loadtests.environment import DEFAULT_SETTINGS, describe_environment, read_settings
from loadtests.metrics import Summary
from loadtests.workload import Prompt, mixed_prompts

STEPS = {
    "verifier_1_token": 2.0,
    "transformers_verifier_1_token": 8.0,
    "verifier_8_tokens": 4.0,
    "transformers_verifier_8_tokens": 8.0,
    "drafter_1_token": 1.0,
    "transformers_drafter_1_token": 5.0,
}
RATES = {"off": 100.0, "auto": 200.0, "fixed k=2": 150.0, "fixed k=4": 250.0, "fixed k=8": 180.0}


class EchoClient:
    """Answers with the prompt; counts how many ask at once."""

    def __init__(self, callers: int) -> None:
        self.together = threading.Barrier(callers, timeout=20)
        self.speculations: list[str] = []

    def generate(self, prompt: str, **options: Any) -> Generation:
        self.together.wait()
        self.speculations.append(options["speculation"])
        return Generation(
            prompt,
            1,
            options["max_tokens"],
            "length",
            "",
            PerfMetrics(drafted_rounds=2, num_accepted_tokens=6),
            0.1,
            0.5,
        )


def measurements() -> Measurements:
    cells = {
        (mode.name, concurrency): [
            Cell(
                Summary(RATES[mode.name] * (6 if concurrency == 32 else 1), 5, 2.5, 3, 2, 160),
                (("x", "same"), ("y", "other")),
            )
        ]
        for mode in MODES
        for concurrency in (1, 8, 32)
    }
    return Measurements(cells, {"x": "same", "y": "same"}, [{"transformers": 50.0, "transformers assisted": 80.0}])


def result() -> dict[str, Any]:
    return collect(measurements(), STEPS, [0.5, 0.25, 0.0], FULL, describe_environment(read_settings()))


def test_a_cell_asks_every_prompt_once_with_so_many_callers() -> None:
    prompts = [Prompt("code", str(number)) for number in range(8)]
    client = EchoClient(4)
    cell = run_cell(client, MODES[1], 4, prompts, 16)  # type: ignore[arg-type]
    assert sorted(cell.texts) == [(str(number), str(number)) for number in range(8)]
    assert set(client.speculations) == {"fixed:code:2"}
    assert cell.summary.mean_acceptance_length == 4


@pytest.mark.parametrize("plan", [FULL, QUICK])
def test_a_plan_covers_every_domain_alike_at_concurrency_1(plan: Any) -> None:
    domains = [prompt.domain for prompt in plan.prompts(mixed_prompts(), 1)]
    assert len({domains.count(domain) for domain in domains}) == 1 and len(set(domains)) == 5
    assert len(plan.prompts(mixed_prompts(), 32)) == 32 * plan.requests_per_caller[32]


def test_identical_texts_are_counted_over_every_answer_of_every_repeat() -> None:
    repeats = measurements().cells["auto", 1] * 3
    assert identical_share(repeats, {"x": "same", "y": "same"}) == 0.5


def test_every_text_that_differs_is_examined_once() -> None:
    assert bench.differences(measurements()) == [{"prompt": "y", "other": "other"}]


def test_the_ratios_are_of_the_figures_they_name() -> None:
    values = ratios(result())
    assert values["speculation (auto) over off, concurrency 1"] == 2
    assert values["best speculation over off, concurrency 1"] == 2.5
    assert values["speculation (auto) over transformers assisted"] == 2.5
    assert values["off over transformers generate"] == 2
    assert values["off at concurrency 32 over 1"] == 6
    assert values["TPOT of off over the bare step"] == 1.25
    assert values["step over transformers' step, verifier, 1 token"] == 0.25


def test_the_report_is_three_files(tmp_path: Path) -> None:
    write_report(result(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bench.json", "bench.md", "bench.png"]


def test_the_markdown_has_a_row_for_every_cell_and_names_the_settings() -> None:
    values = {**result(), "ratios": ratios(result())}
    text = as_markdown(values)
    assert text.count("| 50% |") == 15
    assert values["settings"]["sha256"][:12] in text and values["settings"]["dtype"] in text
    assert "3 different answers" in text and "at most 0.5000 apart (median 0.2500)" in text


def test_settings_are_compared_as_the_server_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("engine: {verifier: {dtype: float32}}\n")
    own, shipped = read_settings(path), read_settings(DEFAULT_SETTINGS)
    assert (own.dtype, own.num_threads) == ("float32", 1)
    assert shipped.dtype != "auto" and shipped.num_threads == 2
    assert own.sha256 != shipped.sha256


def test_settings_that_the_server_refuses_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("engine: {verifier: {dtype: int3}}\n")
    with pytest.raises(CommandFailed, match=r"own\.yaml: engine\.verifier\.dtype must be one of"):
        read_settings(path)


def test_a_failed_baseline_is_one_sentence_not_a_traceback() -> None:
    with pytest.raises(CommandFailed, match=r"json\.tool \(exit code 1\)"):
        bench._subprocess_json("json.tool", stdin="{")
