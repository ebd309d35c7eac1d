"""The same weights in transformers, in a process of its own: plain and assisted generation, tokens per second.

python -m loadtests.baselines --threads 2 --dtype bfloat16 < prompts.jsonl
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

REPOSITORY = Path(__file__).resolve().parent.parent / "model_repository"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--max-tokens", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.set_verbosity_error()
    prompts = [json.loads(line) for line in sys.stdin if line.strip()]
    json.dump(measure(prompts, getattr(torch, options.dtype), options.max_tokens), sys.stdout)
    return 0


def measure(prompts: Sequence[dict[str, str]], dtype: torch.dtype, max_tokens: int) -> dict[str, float]:
    """Median tokens per second over the prompts, each asked once plain and once assisted, in turn."""
    verifier = _load("verifier", dtype)
    drafters = {prompt["domain"]: _load(f"drafter_{prompt['domain']}", dtype) for prompt in prompts}
    tokenizer = AutoTokenizer.from_pretrained(REPOSITORY / "verifier" / "1" / "weights")

    def generate(prompt: dict[str, str], **options: Any) -> float:
        inputs = tokenizer(prompt["prompt"], return_tensors="pt", return_token_type_ids=False)
        return _rate(
            lambda: (
                verifier.generate(
                    **inputs, max_new_tokens=max_tokens, min_new_tokens=max_tokens, do_sample=False, **options
                ).shape[1]
                - inputs["input_ids"].shape[1]
            )
        )

    generate(prompts[0])  # warm-up
    plain, assisted = [], []
    for prompt in prompts:
        plain.append(generate(prompt))
        assisted.append(generate(prompt, assistant_model=drafters[prompt["domain"]]))
    return {"transformers": median(plain), "transformers assisted": median(assisted)}


def _load(model: str, dtype: torch.dtype) -> Any:
    return AutoModelForCausalLM.from_pretrained(REPOSITORY / model / "1" / "weights", dtype=dtype).eval()


def _rate(generate: Callable[[], int]) -> float:
    started = time.perf_counter()
    with torch.inference_mode():
        count = generate()
    return count / (time.perf_counter() - started)


if __name__ == "__main__":
    raise SystemExit(main())
