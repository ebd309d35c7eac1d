"""The same weights in transformers, in a process of its own: plain and assisted generation, tokens per second.

python -m loadtests.transformers_rates --threads 2 --dtype bfloat16 < prompts.jsonl
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from loadtests.pairs import VERIFIER

REPOSITORY = Path(__file__).resolve().parent.parent / "model_repository"
PLAIN = "transformers"
ASSISTED = "transformers assisted"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.transformers_rates", description=__doc__)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    parser.add_argument("--dtype", default="bfloat16", help="of all weights (default: %(default)s)")
    parser.add_argument("--max-tokens", type=int, default=64, help="tokens a prompt (default: %(default)s)")
    parser.add_argument("--verifier", type=Path, default=VERIFIER, help="checkpoint (default: the bundled one)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    prompts = [json.loads(line) for line in sys.stdin if line.strip()]
    json.dump(measure(prompts, getattr(torch, options.dtype), options.max_tokens, options.verifier), sys.stdout)
    return 0


def measure(prompts: Sequence[dict[str, str]], dtype: torch.dtype, max_tokens: int, verifier: Path) -> dict[str, float]:
    """Tokens per second over all prompts: every token over the whole time, as the server's rate is counted too."""
    ask = _asker(dtype, max_tokens, verifier)
    domains = {prompt["domain"]: prompt for prompt in prompts}
    for prompt in domains.values():  # warm-up: the first use of a model pays for its allocations
        ask(prompt, PLAIN)
        ask(prompt, ASSISTED)
    totals = {PLAIN: [0, 0.0], ASSISTED: [0, 0.0]}
    for prompt in prompts:
        for mode, total in totals.items():  # in turn: drift of the machine falls on both alike
            count, seconds = ask(prompt, mode)
            total[0] += count
            total[1] += seconds
    return {mode: count / seconds for mode, (count, seconds) in totals.items()}


def _asker(dtype: torch.dtype, max_tokens: int, checkpoint: Path) -> Callable[[dict[str, str], str], tuple[int, float]]:
    """A function that answers one prompt and returns its tokens and seconds."""
    verifier = _load(checkpoint, dtype)
    drafters: dict[str, Any] = {}
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    # As the server is asked with ignore_eos: every answer has all its tokens.
    limits = {"max_new_tokens": max_tokens, "min_new_tokens": max_tokens, "do_sample": False}

    def ask(prompt: dict[str, str], mode: str) -> tuple[int, float]:
        domain = prompt["domain"]
        if mode == ASSISTED and domain not in drafters:
            drafters[domain] = _load(REPOSITORY / f"drafter_{domain}" / "1" / "weights", dtype)
        assistant = {"assistant_model": drafters[domain]} if mode == ASSISTED else {}
        inputs = tokenizer(prompt["prompt"], return_tensors="pt", return_token_type_ids=False)
        started = time.perf_counter()
        with torch.inference_mode():
            output = verifier.generate(**inputs, **limits, **assistant)
        return output.shape[1] - inputs["input_ids"].shape[1], time.perf_counter() - started

    return ask


def _load(checkpoint: Path, dtype: torch.dtype) -> Any:
    return AutoModelForCausalLM.from_pretrained(checkpoint, dtype=dtype).eval()


if __name__ == "__main__":
    raise SystemExit(main())
