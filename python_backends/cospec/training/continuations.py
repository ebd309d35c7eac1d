"""The verifier's own continuations of a domain's prompts: what its drafter will be asked to guess."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from cospec.training.corpus import Example

PROMPT_TOKENS = 128  # longer prompts are left out: generation pads every prompt to the longest


def generate_continuations(
    verifier: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    num_prompts: int,
    max_new_tokens: int,
    batch_size: int,
    seed: int,
) -> list[NDArray[np.int64]]:
    """Prompt and continuation of `num_prompts` random examples, half of the batches greedy, half at T = 1."""
    prompts = _choose(tokenizer, examples, num_prompts, seed)
    # Neighbours of similar length need little padding.
    prompts.sort(key=len)
    batches = [prompts[start : start + batch_size] for start in range(0, len(prompts), batch_size)]
    torch.manual_seed(seed)
    documents: list[NDArray[np.int64]] = []
    for number, batch in enumerate(tqdm(batches, desc=f"continuing {examples[0].domain}", unit="batch")):
        documents += _continue(verifier, tokenizer, batch, max_new_tokens, sample=number % 2 == 1)
    return documents


def _choose(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], num_prompts: int, seed: int
) -> list[list[int]]:
    order = np.random.default_rng(seed).permutation(len(examples))[: 2 * num_prompts]
    encoded: list[list[int]] = tokenizer([examples[index].prompt for index in order])["input_ids"]
    return [prompt for prompt in encoded if len(prompt) <= PROMPT_TOKENS][:num_prompts]


def _continue(
    verifier: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    max_new_tokens: int,
    sample: bool,
) -> list[NDArray[np.int64]]:
    tokenizer.pad_token, tokenizer.padding_side = tokenizer.eos_token, "left"
    padded = tokenizer.pad({"input_ids": prompts}, return_tensors="pt")
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        outputs = verifier.generate(
            **padded, max_new_tokens=max_new_tokens, do_sample=sample, top_k=0, pad_token_id=tokenizer.eos_token_id
        )
    width = padded["input_ids"].shape[1]
    rows = zip(prompts, outputs[:, width:].tolist(), strict=True)
    return [np.asarray(prompt + _until_end(new, tokenizer.eos_token_id), dtype=np.int64) for prompt, new in rows]


def _until_end(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end) + 1] if end in tokens else tokens
