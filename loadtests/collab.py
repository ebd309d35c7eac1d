"""`make bench-collab`: what each part of cooperative drafting brings, from no speculation to all of it, on every pair.

A look finds the best single drafter and its best draft length; then every repeat measures all contenders at every
place in a new order. Beside that: which drafter knows which domain, how soon routing finds it, what shared noise is
worth above temperature 0, whether the verifier is better called for a sequence or for a group, and what trees bring
where their nodes are not priced.
"""

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cospec_client import CospecError
from tritonclient.utils import InferenceServerException

from loadtests.bench_options import add_extent, add_output, add_pairs, add_seed, add_verifier_weights, chosen_pairs
from loadtests.collab_bls import measure_bls
from loadtests.collab_cell import Server
from loadtests.collab_expertise import acceptance, routing
from loadtests.collab_nodes import measure_nodes
from loadtests.collab_pair import measure_pair, servers_of
from loadtests.collab_plan import ALONE, FULL, PARTS, QUICK, SERVERS, CollabPlan, PairPlan
from loadtests.collab_report import write_report
from loadtests.collab_temperatures import offline, served
from loadtests.environment import describe_environment, read_settings
from loadtests.json_process import CommandFailed
from loadtests.pairs import Pair
from loadtests.server_process import ServerFailed
from loadtests.settings_file import Overrides, read_changes
from loadtests.workload import MIXED, prompts_of

Result = dict[str, Any]
EXAMPLES = """examples:
  python -m loadtests.collab --quick                                  the bundle, in a few minutes
  python -m loadtests.collab --verifier-weights build/verifier_03b    the bundle, then this checkpoint
  python -m loadtests.collab --parts bls temperatures                 only these, on the bundle"""


def main(arguments: list[str] | None = None) -> int:
    parser = build_parser()
    options = parser.parse_args(arguments)
    pairs = chosen_pairs(parser, options)
    plan = (QUICK if options.quick else FULL).with_repeats(options.repeats)
    try:
        costly = read_changes(options.settings_costly) if options.settings_costly else {}
        for result in measure(pairs, plan, tuple(options.parts), costly, random.Random(options.seed)):
            write_report({**result, **describe_environment(read_settings())}, options.output)
    except (OSError, ValueError, ServerFailed, CospecError, CommandFailed, InferenceServerException) as error:
        print(f"bench-collab: {error}", file=sys.stderr)
        return 1
    print((options.output / "collab.md").read_text(encoding="utf-8"))
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.collab",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_extent(parser, "of every cell (default: 3; quick: 1)")
    add_verifier_weights(parser)
    parser.add_argument(
        "--settings-costly",
        type=Path,
        metavar="FILE",
        help="YAML: what such a checkpoint's server has other than shipped (default: nothing)",
    )
    add_pairs(parser)
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=PARTS,
        default=list(PARTS),
        help="only these; routing, temperatures, bls and nodes are measured on the first pair (default: all)",
    )
    add_output(parser, "collab.json, .md and plots")
    add_seed(parser)
    return parser


def measure(
    pairs: Sequence[Pair], plan: CollabPlan, parts: tuple[str, ...], costly: Overrides, order: random.Random
) -> Iterator[Result]:
    """All but the environment, as plain JSON: what there is after every part, so that none is lost with a later one.

    Raises what servers, requests and processes raise.
    """
    result: Result = {"pairs": [], "acceptance": {}, "routing": {}, "temperatures": {}, "bls": [], "nodes": []}
    on_every, on_first = ({*parts} & {"ladder", "domains"}, {*parts} - {"ladder", "bls", "nodes"})
    with tempfile.TemporaryDirectory() as name:
        for pair in pairs:
            if not on_every and not (on_first and pair is pairs[0]):
                continue
            changes = {} if pair.is_bundle else costly
            variants = SERVERS if on_every else {ALONE: SERVERS[ALONE]}
            with servers_of(pair, changes, variants, Path(name)) as servers:
                pair_plan = plan.bundle if pair.is_bundle else plan.costly
                if on_every:
                    result["pairs"].append(measure_pair(pair, changes, servers, pair_plan, parts, order))
                if pair is pairs[0]:
                    result |= _measure_drafters(servers[ALONE], plan, pair_plan, on_first)
            yield result
        if "temperatures" in parts:
            result["temperatures"]["offline"] = offline(prompts_of(MIXED, plan.sampled_prompts), plan.bundle)
            yield result
        if "bls" in parts:
            result["bls"] = measure_bls(pairs[0], plan, order, Path(name))
            yield result
        if "nodes" in parts:
            result["nodes"] = measure_nodes(pairs[0], plan, Path(name))
            yield result


def _measure_drafters(server: Server, plan: CollabPlan, pair_plan: PairPlan, parts: set[str]) -> Result:
    """What depends on the drafters' skill and hardly on the verifier's cost."""
    found: Result = {}
    if "domains" in parts:
        found["acceptance"] = acceptance(server, pair_plan)
    if "routing" in parts:
        found["routing"] = routing(server, plan, pair_plan.depth)
    if "temperatures" in parts:
        found["temperatures"] = {"served": served(server, plan, pair_plan)}
    return found


if __name__ == "__main__":
    raise SystemExit(main())
