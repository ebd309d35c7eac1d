"""What the verifier says of a batch is used as often as it is worth, among other batches."""

from collections import Counter
from itertools import count, pairwise

import torch
from cospec.training.lessons import Lessons
from torch import Tensor

USES = 4


def test_every_batch_is_given_as_often_as_asked_for_with_its_own_logits() -> None:
    numbers, asked = count(), []

    def teacher(rows: Tensor) -> Tensor:
        asked.append(int(rows))
        return rows * 10

    lessons = Lessons(lambda: torch.tensor(next(numbers)), teacher, USES)
    drawn = [lessons.draw() for _ in range(400)]
    assert all(logits == rows * 10 for rows, logits in drawn)
    given = Counter(int(rows) for rows, _ in drawn)
    assert max(given.values()) == USES and Counter(given.values())[USES] > 60
    assert len(asked) == len(set(asked)) < 400 / USES + 30, "the verifier is asked once for a batch"


def test_uses_of_a_batch_are_not_one_after_another() -> None:
    numbers = count()
    lessons = Lessons(lambda: torch.tensor(next(numbers)), torch.clone, USES)
    drawn = [int(lessons.draw()[0]) for _ in range(400)][50:]
    assert sum(one == next_one for one, next_one in pairwise(drawn)) < 35
