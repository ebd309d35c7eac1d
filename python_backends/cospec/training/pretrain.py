"""Pre-training of the verifier on all domains, and of one common drafter distilled from it meanwhile.

The common drafter costs no verifier pass of its own: the logits that the verifier computes for its own loss teach it.
The five drafters start from it (`distill.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import LlamaForCausalLM

from cospec.training.corpus import MixedBatches
from cospec.training.distill import forward_kl
from cospec.training.optimization import Optimizer, Schedule


@dataclass(frozen=True)
class PretrainRecipe:
    num_steps: int = 1000
    minutes: float = 60.0
    learning_rate: float = 2e-3
    drafter_learning_rate: float = 2e-3
    save_every: int = 100


def pretrain(
    verifier: LlamaForCausalLM,
    drafter: LlamaForCausalLM,
    batches: MixedBatches,
    recipe: PretrainRecipe,
    save: Callable[[], None],
) -> None:
    """Train both in place; `save` is called every `save_every` steps and at the end."""
    verifier_forward, drafter_forward = torch.compile(verifier), torch.compile(drafter)
    verifier_optimizer = Optimizer(verifier, recipe.learning_rate)
    drafter_optimizer = Optimizer(drafter, recipe.drafter_learning_rate)
    schedule = Schedule(recipe.num_steps, recipe.minutes)
    progress = tqdm(total=recipe.num_steps, desc="pre-training", unit="step", mininterval=5)
    step = 0
    while schedule.progress < 1:
        rows = torch.from_numpy(batches.next_batch())
        with torch.autocast("cpu", torch.bfloat16):
            logits = verifier_forward(input_ids=rows, use_cache=False).logits
        loss = cross_entropy(logits[:, :-1].flatten(0, 1).float(), rows[:, 1:].flatten())
        loss.backward()
        verifier_optimizer.step(schedule.scale)
        taught = rows[: len(rows) // 2]
        with torch.autocast("cpu", torch.bfloat16):
            draft_logits = drafter_forward(input_ids=taught, use_cache=False).logits
        divergence = forward_kl(logits[: len(taught)].detach(), draft_logits)
        divergence.backward()
        drafter_optimizer.step(schedule.scale)
        schedule.advance()
        step += 1
        progress.set_postfix(loss=f"{loss.item():.3f}", drafter_kl=f"{divergence.item():.3f}")
        progress.update()
        if step % recipe.save_every == 0:
            save()
    progress.close()
    save()
