"""Figures of the load tests, on times made by hand."""

import pytest

from loadtests.metrics import Sample, Summary, median_summary, percentile, summarize
from loadtests.workload import DOMAINS, load_prompts, mixed_prompts


def test_tpot_is_per_token_after_the_first() -> None:
    assert Sample(ttft=0.1, latency=1.1, num_output_tokens=11).tpot == pytest.approx(0.1)
    assert Sample(ttft=0.1, latency=0.1, num_output_tokens=1).tpot == 0


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(n) for n in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile(values, 1.0)) == (50, 99, 100)
    assert percentile([7.0], 0.99) == 7


def test_a_summary_pools_tokens_and_rounds() -> None:
    summary = summarize([Sample(0.1, 1.1, 11, 4, 6), Sample(0.2, 2.2, 21, 6, 14)], seconds=4)
    assert summary.tokens_per_second == 8
    assert summary.mean_acceptance_length == 3
    assert summary.ttft_p50 == pytest.approx(150)
    assert summary.tpot_p99 == pytest.approx(100)
    assert summary.latency_p50 == pytest.approx(1650)


def test_repeats_are_summed_up_by_medians() -> None:
    repeats = [Summary(1, 5, 3, 3, 1, 7), Summary(9, 1, 3, 4, 2, 8), Summary(2, 2, 3, 9, 3, 9)]
    assert median_summary(repeats) == Summary(2, 2, 3, 4, 2, 8)


def test_the_repository_holds_ten_prompts_of_each_domain() -> None:
    assert DOMAINS == ("chat", "code", "literature", "math", "medicine")
    assert [len(load_prompts(domain)) for domain in DOMAINS] == [10] * 5
    assert len({prompt.text for prompt in mixed_prompts()}) == 50
