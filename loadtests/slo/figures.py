"""What a run's records say, by the names that a gate may bound. Only requests after the warm-up count.

Honest by construction: whatever did not end well is a miss, tokens are counted by `num_output_tokens` and never by
chunks, and every time counts from when the request should have been sent.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain

from loadtests.generator.plan import Plan
from loadtests.generator.record import REJECTED, Record
from loadtests.metrics import percentile
from loadtests.objectives import FIGURES, Objectives

Figures = dict[str, float | None]  # None: nothing to measure it on
PERCENTILES = (50, 95, 99)
TIMES: dict[str, Callable[[Record], Iterable[float]]] = {
    "ttft": lambda record: (record.ttft,),
    # A first token has no time per token after it.
    "tpot": lambda record: (record.tpot,) if record.output_tokens > 1 else (),
    "e2e": lambda record: (record.latency,),
    "icl": lambda record: record.gaps,
}


def measured(records: Iterable[Record], plan: Plan) -> list[Record]:
    """Those that count, in order of time."""
    return sorted((record for record in records if record.at >= plan.warm_up), key=lambda record: record.at)


def run_figures(records: Sequence[Record], plan: Plan, objectives: Objectives) -> Figures:
    """Of `measured` records: every figure of the run and of each class."""
    figures = figures_of(records, plan, objectives)
    for name in objectives.names:
        own = [record for record in records if record.slo_class == name]
        figures |= {f"{name}.{figure}": value for figure, value in figures_of(own, plan, objectives).items()}
    figures["offered_rps"] = len(records) / plan.duration
    figures["schedule_lag_p99_ms"] = _percentile_ms([record.lag for record in records], 99)
    return figures


def figures_of(records: Sequence[Record], plan: Plan, objectives: Objectives) -> Figures:
    """Of some of them."""
    attained = sum(record.attains(objectives.of(record.slo_class)) for record in records)
    ended = [record for record in records if record.is_ok]
    seconds = max([plan.duration, *(record.ended - plan.warm_up for record in ended)])
    figures: Figures = {
        "attainment": _share(attained, len(records)),
        "goodput_rps": attained / plan.duration,
        "throughput_tps": sum(record.output_tokens for record in ended) / seconds,
        "failed_share": _share(len(records) - len(ended), len(records)),
        "rejected_share": _share(sum(record.outcome == REJECTED for record in records), len(records)),
        "acceptance_length": acceptance_length(ended),
    }
    for name, times in TIMES.items():
        values = list(chain.from_iterable(map(times, ended)))
        figures |= {f"{name}_p{share}_ms": _percentile_ms(values, share) for share in PERCENTILES}
    assert tuple(figures) == FIGURES
    return figures


def acceptance_length(records: Iterable[Record]) -> float | None:
    """Tokens that a round with a draft brought, the verifier's own included."""
    pairs = [(record.num_accepted_tokens, record.drafted_rounds) for record in records]
    rounds = sum(number for _, number in pairs)
    return 1 + sum(accepted for accepted, _ in pairs) / rounds if rounds else None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _percentile_ms(seconds: Sequence[float], share: int) -> float | None:
    return percentile(seconds, share / 100) * 1e3 if seconds else None
