"""A run's course: figures of one short time after another. Pure."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median

from loadtests.generator.plan import Plan
from loadtests.generator.record import Record
from loadtests.metrics import percentile
from loadtests.objectives import Objectives
from loadtests.slo.figures import acceptance_length

NUM_BINS = 48
_TIMES: Mapping[str, Callable[[Record], float]] = {
    "TTFT": lambda record: record.ttft,
    "TPOT": lambda record: record.tpot,
    "end to end": lambda record: record.latency,
}
Series = dict[str, list[float | None]]


def course(records: Sequence[Record], plan: Plan, objectives: Objectives) -> Series:
    """Rates per second and times in milliseconds; `seconds`: the middle of each bin. The warm-up is part of it.

    Offered requests and times to the first token are those of requests that should have been sent then; all else is of
    requests that ended then.
    """
    width = max(1.0, plan.end / NUM_BINS)
    count = max(1, round(plan.end / width))
    sent = _binned([(record.at, record) for record in records], width, count)
    ended = _binned([(record.ended, record) for record in records if record.is_ok], width, count)
    attained = [[each for each in group if each.attains(objectives.of(each.slo_class))] for group in ended]
    return {
        "seconds": [(number + 0.5) * width for number in range(count)],
        "offered_rps": [len(group) / width for group in sent],
        "completed_rps": [len(group) / width for group in ended],
        "goodput_rps": [len(group) / width for group in attained],
        "tokens_per_second": [sum(record.output_tokens for record in group) / width for group in ended],
        "ttft_p50_ms": [_ttft(group, 0.5) for group in sent],
        "ttft_p99_ms": [_ttft(group, 0.99) for group in sent],
        "acceptance_length": [acceptance_length(group) for group in ended],
        "draft_length": [draft_length(group) for group in ended],
    }


def drift(records: Sequence[Record]) -> dict[str, float]:
    """Medians of the last quarter of the requests over those of the first: what a soak is for."""
    ended = [record for record in records if record.is_ok]
    quarter = len(ended) // 4
    if not quarter:
        return {}
    ends = ended[:quarter], ended[-quarter:]
    medians = {name: [median(map(time, group)) for group in ends] for name, time in _TIMES.items()}
    return {name: round(last / first, 3) for name, (first, last) in medians.items() if first}


def draft_length(records: Sequence[Record]) -> float | None:
    """Tokens that a draft held; None where nothing was drafted."""
    rounds = sum(record.drafted_rounds for record in records)
    return sum(record.num_draft_tokens for record in records) / rounds if rounds else None


def drafter_shares(records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """Domain -> drafter -> share of the tokens that were drafted for it."""
    shares: dict[str, dict[str, float]] = {}
    for record in records:
        drafted = shares.setdefault(record.domain, {})
        for drafter, share in record.drafter_shares.items():
            drafted[drafter] = drafted.get(drafter, 0.0) + share * record.num_draft_tokens
    return {domain: _normalised(drafted) for domain, drafted in sorted(shares.items()) if sum(drafted.values())}


def accepted_per_depth(records: Sequence[Record]) -> list[float]:
    """Of the rounds with a draft, the share in which the token at each depth was accepted."""
    rounds = sum(record.drafted_rounds for record in records)
    depth = max((len(record.accepted_per_depth) for record in records), default=0)
    counts = [
        sum(record.accepted_per_depth[at] for record in records if at < len(record.accepted_per_depth))
        for at in range(depth)
    ]
    return [count / rounds for count in counts] if rounds else []


def _binned(moments: Sequence[tuple[float, Record]], width: float, count: int) -> list[list[Record]]:
    """What lies beyond the last bin, as answers in the run's grace do, is left out."""
    groups: list[list[Record]] = [[] for _ in range(count)]
    for moment, record in moments:
        if 0 <= moment < width * count:
            groups[int(moment / width)].append(record)
    return groups


def _ttft(records: Sequence[Record], share: float) -> float | None:
    times = [record.ttft * 1e3 for record in records if record.is_ok]
    return percentile(times, share) if times else None


def _normalised(amounts: dict[str, float]) -> dict[str, float]:
    total = sum(amounts.values())
    return {name: round(amount / total, 4) for name, amount in sorted(amounts.items()) if amount}
