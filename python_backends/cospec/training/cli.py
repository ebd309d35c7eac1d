"""`cospec-server train`: from corpora to a model repository, in five stages that can be run one by one."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from cospec.config import DEFAULT_REPOSITORY
from cospec.training import stages
from cospec.training.corpus import CorpusError
from cospec.training.stages import StageError, TrainingPlan

STAGES: dict[str, Callable[[TrainingPlan], None]] = {
    "tokenizer": stages.train_tokenizer_stage,
    "pretrain": stages.pretrain_stage,
    "distill": stages.distill_stage,
    "publish": stages.publish_stage,
    "routing-prior": stages.routing_prior_stage,
}

KEPT = ("tokenizer", "pretrain")  # stages whose work `--further` builds on


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cospec-server train",
        description="Train the tokenizer, the verifier, one drafter per domain and the text classifier that chooses "
        "among them, and publish them as Triton models.",
    )
    parser.add_argument("--corpus", type=Path, required=True, help="JSONL (.gz) of domain, prompt, response")
    parser.add_argument(
        "--validation",
        type=Path,
        required=True,
        help="the same, held out, for the acceptance matrix and the classifier",
    )
    parser.add_argument("--work", type=Path, default=Path("training"), help="checkpoints (default: %(default)s)")
    parser.add_argument("--model-repository", type=Path, default=DEFAULT_REPOSITORY)
    parser.add_argument("--stage", choices=(*STAGES, "all"), default="all")
    parser.add_argument("--domains", nargs="+", help="distill only these drafters (default: all in the corpus)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vocab-size", type=int, default=4096)
    parser.add_argument("--pretrain-steps", type=int, default=1100, help="of 8,192 tokens (default: %(default)s)")
    parser.add_argument(
        "--pretrain-minutes", type=float, default=600, help="end earlier, with decay (default: %(default)s)"
    )
    parser.add_argument(
        "--distill-steps", type=int, default=700, help="a drafter, of 4,096 tokens (default: %(default)s)"
    )
    parser.add_argument("--distill-minutes", type=float, default=600, help="a drafter (default: %(default)s)")
    parser.add_argument(
        "--continuations",
        type=int,
        default=1024,
        help="prompts that the verifier continues, half greedy, for each drafter to learn from (default: %(default)s)",
    )
    parser.add_argument(
        "--further",
        action="store_true",
        help="keep the tokenizer and the verifier of the model repository, and distil its drafters further",
    )
    return parser


def main(arguments: list[str]) -> int:
    options = vars(build_parser().parse_args(arguments))
    chosen = options.pop("stage")
    plan = TrainingPlan(**options)
    try:
        for name, stage in STAGES.items():
            if chosen == name or (chosen == "all" and not (plan.further and name in KEPT)):
                stage(plan)
    except (CorpusError, StageError) as error:
        print(f"cospec-server train: {error}", file=sys.stderr)
        return 2
    return 0
