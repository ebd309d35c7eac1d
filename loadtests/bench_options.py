"""Options that benchmarks share."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from loadtests.pairs import Pair, bundle_and

RESULTS = Path(__file__).parent / "results"


def add_extent(parser: ArgumentParser, repeats: str) -> None:
    """--quick and --repeats; `repeats`: of what, and how many by default."""
    parser.add_argument("--quick", action="store_true", help="one repeat, few and short answers: a look, not a result")
    parser.add_argument("--repeats", type=int, metavar="N", help=repeats)


def add_verifier_weights(parser: ArgumentParser, purpose: str = "to measure") -> None:
    parser.add_argument(
        "--verifier-weights",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help=f"a checkpoint {purpose} after the bundled one, such as `cospec-server expand` makes; repeatable",
    )


def add_pairs(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--pairs", nargs="+", metavar="NAME", help="only these: bundle, or the name of a checkpoint's folder"
    )


def chosen_pairs(parser: ArgumentParser, options: Namespace) -> list[Pair]:
    """Of --verifier-weights those that --pairs names, or all; ends the program where it names none."""
    pairs = bundle_and(options.verifier_weights)
    chosen = [pair for pair in pairs if pair.name in (options.pairs or [each.name for each in pairs])]
    if not chosen:
        parser.error(
            f"--pairs must name some of {', '.join(pair.name for pair in pairs)}; got {' '.join(options.pairs)}"
        )
    return chosen


def add_output(parser: ArgumentParser, files: str) -> None:
    parser.add_argument("--output", type=Path, default=RESULTS, help=f"folder for {files}")


def add_seed(parser: ArgumentParser, purpose: str = "of the order of cells") -> None:
    parser.add_argument("--seed", type=int, default=0, help=purpose)
