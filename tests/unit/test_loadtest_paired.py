"""Two servers in turn."""

from typing import Any

import pytest

from loadtests import paired
from loadtests.bench_plan import OFF, Cell
from loadtests.metrics import Summary
from loadtests.metrics_cost import serving_seconds
from loadtests.paired import PairedRates, PairPlan, as_markdown, measure_pair


def test_servers_take_turns_and_the_first_pair_warms_up(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    rates = {"slow": 50.0, "fast": 100.0}

    def run(client: Any, mode: Any, concurrency: int, prompts: Any, max_tokens: int) -> Cell:
        order.append(client)
        return Cell(Summary(rates[client] * concurrency, 0, 0, 0, 0, 0), (("prompt", "text"),))

    monkeypatch.setattr(paired, "run_cell", run)
    [result] = measure_pair("slow", "fast", [OFF], PairPlan(3, 8, {2: 4}))  # type: ignore[arg-type]
    assert order == ["slow", "fast", "fast", "slow"] * 2
    assert result == PairedRates("off", 2, (100.0,) * 3, (200.0,) * 3, same_texts=True)


def test_the_table_has_the_median_of_ratios_of_pairs() -> None:
    rates = PairedRates("auto", 8, (90.0, 50.0, 110.0), (100.0, 100.0, 100.0), same_texts=False)
    assert (
        as_markdown([rates], "BLS", "gRPC").splitlines()[-1] == "| auto | 8 | 90 | 100 | 0.900 (0.500 to 1.100) | no |"
    )


def test_the_time_that_a_server_has_served_is_all_its_cells_and_the_warm_up() -> None:
    rates = PairedRates("auto", 8, (100.0, 50.0), (1.0, 1.0), same_texts=True)
    assert serving_seconds([rates], PairPlan(repeats=2, max_tokens=10, requests={8: 20})) == (2 + 4) * 3 / 2
