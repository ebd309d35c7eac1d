"""One token a forward: how a drafter guesses on, and how the verifier goes on where nothing was drafted."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from cospec.engine.blocks import Part, next_tokens
from cospec.engine.language_model import LanguageModel
from cospec.engine.sampling import SamplingBatch, noisy_scores

Value = TypeVar("Value")


class Step(NamedTuple):
    """One token of every row that still goes on."""

    tokens: Tensor  # int64 [rows]
    scores: Tensor  # float32 [rows, vocab], which the tokens maximise


@torch.inference_mode()
def decode(
    model: LanguageModel,
    parts: Sequence[Part],
    logits: Tensor,
    lengths: Sequence[int],
    sampling: SamplingBatch,
    ends: Callable[[Step], bool] = lambda step: False,
) -> list[Step]:
    """Choose `lengths` tokens behind `parts`, which have been read and gave `logits` [parts, vocab].

    The longest come first, so that those that go on are always the first rows. The last token of a row is not read.
    `ends` sees every step, and may end the decoding of all rows with it.
    """
    slots = model.tensor(np.asarray([part.slot for part in parts]))
    positions = model.tensor(np.asarray([part.end for part in parts]))  # of the tokens to choose
    longest = max(part.end for part in parts)
    steps: list[Step] = []
    for number in range(lengths[0]):
        rows = sum(length > number for length in lengths)
        if rows < slots.shape[0]:
            slots, positions, logits, sampling = slots[:rows], positions[:rows], logits[:rows], sampling.first(rows)
        if steps:
            read = steps[-1].tokens[:rows]
            logits = model.logits(next_tokens(model, slots, read, positions, longest + number))
            positions = positions + 1
        scores = noisy_scores(logits, positions, sampling, model.end_tokens)
        steps.append(Step(scores.argmax(-1), scores))
        if ends(steps[-1]):
            break
    return steps


def by_row(steps: Sequence[Step], values: Iterable[Value], num_rows: int) -> list[list[Value]]:
    """`values`, one per token of all `steps` in order, sorted by row."""
    rows: list[list[Value]] = [[] for _ in range(num_rows)]
    remaining = iter(values)
    for step in steps:
        for row in range(len(step.tokens)):
            rows[row].append(next(remaining))
    return rows
