"""Distillation of a drafter from the verifier (DistillSpec, arXiv 2310.08461, section 3).

Forward KL over the verifier's whole distribution, first on corpus text, then on the verifier's own continuations,
greedy and sampled, since those are the texts that the drafter will have to guess.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import LlamaForCausalLM

from cospec.training.lessons import Lessons, Logits, NextBatch
from cospec.training.optimization import Optimizer, Schedule


@dataclass(frozen=True)
class DistillRecipe:
    corpus_steps: int
    continuation_steps: int
    minutes: float
    learning_rate: float = 2e-3
    uses: int = 4  # of a batch: what the verifier says of it costs about two steps without


def forward_kl(target_logits: Tensor, draft_logits: Tensor) -> Tensor:
    """Mean over positions of KL(target || draft), in nats. Both [rows, length, vocab]."""
    target = target_logits.float().log_softmax(-1)
    draft = draft_logits.float().log_softmax(-1)
    return (target.exp() * (target - draft)).sum(-1).mean()


def distill(
    verifier: LlamaForCausalLM,
    drafter: LlamaForCausalLM,
    corpus: NextBatch,
    continuations: NextBatch,
    recipe: DistillRecipe,
    label: str,
) -> None:
    """Train `drafter` in place: `corpus_steps` on `corpus`, then `continuation_steps` on `continuations`."""
    teacher, student, divergence_of = torch.no_grad()(_logits(verifier)), _logits(drafter), torch.compile(forward_kl)
    of_corpus, of_verifier = (Lessons(batches, teacher, recipe.uses) for batches in (corpus, continuations))
    optimizer = Optimizer(drafter, recipe.learning_rate)
    num_steps = recipe.corpus_steps + recipe.continuation_steps
    schedule = Schedule(num_steps, recipe.minutes)
    progress = tqdm(total=num_steps, desc=f"distilling {label}", unit="step", mininterval=5)
    while schedule.progress < 1:
        on_corpus = schedule.progress < recipe.corpus_steps / num_steps
        rows, target_logits = (of_corpus if on_corpus else of_verifier).draw()
        divergence = divergence_of(target_logits, student(rows))
        divergence.backward()
        optimizer.step(schedule.scale)
        schedule.advance()
        progress.set_postfix(kl=f"{divergence.item():.3f}", text="corpus" if on_corpus else "verifier")
        progress.update()
    progress.close()


def _logits(model: LlamaForCausalLM) -> Logits:
    compiled = torch.compile(model)

    def logits(rows: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            of_rows: Tensor = compiled(input_ids=rows, use_cache=False).logits
        return of_rows

    return logits
