"""What a drafter learns from: rows of tokens and the verifier's logits there, which are dear and so used repeatedly."""

import random
from collections.abc import Callable

from torch import Tensor

NextBatch = Callable[[], Tensor]  # [rows, length] token ids
Logits = Callable[[Tensor], Tensor]  # of such rows, [rows, length, vocab]
HELD = 24  # batches, of 32 MiB each with the bundle's vocabulary


class Lessons:
    """Each batch is given `uses` times, others in between."""

    def __init__(self, batches: NextBatch, teacher: Logits, uses: int) -> None:
        self._batches = batches
        self._teacher = teacher
        self._uses = uses
        self._order = random.Random(0)
        self._held: list[tuple[Tensor, Tensor, int]] = []  # and how often it will be given yet

    def draw(self) -> tuple[Tensor, Tensor]:
        """Token ids [rows, length] and the verifier's logits [rows, length, vocab]."""
        if len(self._held) < HELD:
            rows = self._batches()
            self._held.append((rows, self._teacher(rows), self._uses))
        rows, logits, left = self._held.pop(self._order.randrange(len(self._held)))
        if left > 1:
            self._held.append((rows, logits, left - 1))
        return rows, logits
