"""One pair's measurements: a look for the best single drafter, then every contender at every place, again and again."""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from cospec_client import Client
from tqdm import tqdm

from loadtests.bench import identical_share
from loadtests.bench_plan import Mode
from loadtests.collab_cell import CollabCell, Server, median_cooperation, run_collab_cell
from loadtests.collab_plan import ALONE, LOOKUP, OFF, PIPELINE, Contender, PairPlan, Place, fixed, ladder
from loadtests.metrics import median_summary
from loadtests.pairs import Pair, num_parameters
from loadtests.server_process import server_at
from loadtests.settings_file import Overrides, merged, write_changed
from loadtests.timelines import first_wave
from loadtests.verifier_batches import total
from loadtests.workload import DOMAINS, MIXED, prompts_of

SHOWN_CONCURRENCY, SHOWN_REQUESTS = 8, 8  # in the picture of the two stages
Servers = Mapping[str, Server]
Cells = dict[tuple[Contender, Place], list[CollabCell]]
Scan = dict[tuple[Contender, int], CollabCell]  # (single drafter, concurrency) -> its one cell


@contextmanager
def servers_of(pair: Pair, changes: Overrides, variants: Mapping[str, Overrides], folder: Path) -> Iterator[Servers]:
    """One server a variant, all at once: the one that waits uses no processor. Raises `ServerFailed`."""
    with ExitStack() as stack:
        started = {}
        for number, (name, more) in enumerate(variants.items()):
            settings = write_changed(merged(changes, more), folder / f"{pair.name}-{number}.yaml")
            url = stack.enter_context(server_at(None, "--settings", str(settings), *pair.server_arguments))
            started[name] = Server(url, stack.enter_context(Client(url)))
        yield started


def warm_up(turns: Sequence[tuple[Server, Mode]], concurrency: int, max_tokens: int) -> None:
    """The first use of anything is slow, and the cost model knows nothing yet."""
    for server, mode in tqdm(turns, desc=f"warming up, concurrency {concurrency}", unit="cell", leave=False):
        run_collab_cell(server, mode, concurrency, prompts_of(MIXED, concurrency), max_tokens)


def measure_pair(
    pair: Pair, changes: Overrides, servers: Servers, plan: PairPlan, parts: tuple[str, ...], order: random.Random
) -> dict[str, Any]:
    """The pair's part of the result, as plain JSON. Raises `CospecError`."""
    contenders = ladder(plan.depth, fixed(DOMAINS[0], plan.depth))
    warm_up([(servers[each.server], each) for each in contenders], 8, plan.scan_tokens)
    scanned = scan(servers[ALONE], plan, pair.name)
    cells = repeat(servers, plan, scanned, parts, order, pair.name)
    return {
        "name": pair.name,
        "is_bundle": pair.is_bundle,
        "num_parameters": num_parameters(pair.verifier),
        "settings": changes,
        "repeats": plan.repeats,
        "max_tokens": plan.max_tokens,
        "rows": rows(cells),
        "scan": scan_rows(scanned),
        "timelines": timelines(cells, SHOWN_CONCURRENCY),
    }


def scan(server: Server, plan: PairPlan, name: str) -> Scan:
    """Every single drafter at every draft length at concurrency 1; beyond it, every draft length of the best one.

    Which drafter is the best follows from what is accepted, and how deep it pays to draft from the load.
    """
    cells = _look(server, plan, plan.single_drafters(), 1, plan.scan_prompts, name)
    lengths = plan.draft_lengths_of(best_single(cells, 1))
    for concurrency in plan.num_prompts:
        if concurrency != 1:
            cells |= _look(server, plan, lengths, concurrency, concurrency, name)
    return cells


def _look(
    server: Server, plan: PairPlan, contenders: Sequence[Contender], concurrency: int, num_prompts: int, name: str
) -> Scan:
    prompts = prompts_of(MIXED, num_prompts)
    turns = tqdm(contenders, desc=f"{name}: best single drafter, concurrency {concurrency}", unit="cell")
    return {
        (each, concurrency): run_collab_cell(server, each, concurrency, prompts, plan.scan_tokens) for each in turns
    }


def best_single(cells: Scan, concurrency: int) -> Contender:
    """The fastest over all domains alike."""
    rates = {each: cell.summary.tokens_per_second for (each, level), cell in cells.items() if level == concurrency}
    return max(rates, key=lambda contender: rates[contender])


def repeat(
    servers: Servers, plan: PairPlan, scanned: Scan, parts: tuple[str, ...], order: random.Random, name: str
) -> Cells:
    """Each repeat in a new order: drift of the machine falls on all alike."""
    ladders = {level: ladder(plan.depth, best_single(scanned, level)) for level in plan.num_prompts}
    turns = [
        (contender, place)
        for number in range(plan.repeats)
        for contender, place in _shuffled(order, plan.places(parts, number), ladders)
    ]
    cells: Cells = {}
    for contender, place in tqdm(turns, desc=f"{name}: measuring", unit="cell"):
        prompts = prompts_of(place.domain, plan.count(place))
        cell = run_collab_cell(servers[contender.server], contender, place.concurrency, prompts, plan.max_tokens)
        cells.setdefault((contender, place), []).append(cell)
    return cells


def _shuffled(
    order: random.Random, places: Sequence[Place], ladders: Mapping[int, tuple[Contender, ...]]
) -> list[tuple[Contender, Place]]:
    turns = [(contender, place) for place in places for contender in ladders[place.concurrency]]
    return order.sample(turns, len(turns))


def expected_texts(cells: Cells) -> dict[str, str]:
    """prompt -> text of `off`; that of one request at a time where there is one."""
    plain = [(place, repeats[0]) for (contender, place), repeats in cells.items() if contender == OFF]
    single_last = sorted(plain, key=lambda pair: -pair[0].concurrency)
    return {prompt: text for _, cell in single_last for prompt, text in cell.texts}


def rows(cells: Cells) -> list[dict[str, Any]]:
    """Medians over repeats, as plain JSON."""
    expected = expected_texts(cells)
    return [
        {
            "contender": contender.name,
            "speculation": contender.speculation,
            **vars(place),
            **figures(repeats),
            "identical": identical_share(list(repeats), expected),
        }
        for (contender, place), repeats in cells.items()
    ]


def figures(repeats: Sequence[CollabCell]) -> dict[str, Any]:
    """Of the repeats of one cell."""
    batches = total(cell.batches for cell in repeats)
    return {
        **vars(median_summary([cell.summary for cell in repeats])),
        **median_cooperation(repeats),
        "accepted_shares": repeats[0].accepted_shares,
        "verifier_rows_per_execution": round(batches.rows_per_execution, 3),
        "verifier_batches": dict(batches.histogram),
    }


def scan_rows(scanned: Scan) -> list[dict[str, Any]]:
    return [
        {
            "contender": contender.name,
            "speculation": contender.speculation,
            "concurrency": concurrency,
            "tokens_per_second": cell.summary.tokens_per_second,
            "mean_acceptance_length": cell.summary.mean_acceptance_length,
        }
        for (contender, concurrency), cell in scanned.items()
    ]


def timelines(cells: Cells, concurrency: int) -> dict[str, Any]:
    """Of a few requests, with one group and with two in flight, as they ran together."""
    chosen = {
        contender.name: repeats[-1].timelines
        for (contender, place), repeats in cells.items()
        if contender.name in (LOOKUP, PIPELINE) and place == Place(MIXED, concurrency)
    }
    return {name: first_wave(rounds, SHOWN_REQUESTS) for name, rounds in chosen.items()}
