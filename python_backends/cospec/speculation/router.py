"""What is to be expected of the drafters on a text, before any of their drafts has been verified."""

from collections.abc import Mapping
from collections.abc import Sequence as Rows
from typing import Protocol

from cospec.speculation.drafter_pool import DrafterPool
from cospec.speculation.lookup import LOOKUP
from cospec.speculation.sequence import Sequence
from cospec.speculation.types import DraftResult, DraftRow, Status

WINDOW = 48  # the latest tokens, which tell of the present subject; 96 tell no more of a prompt (98.6 to 98.5% right)


class TextPrior(Protocol):
    def probabilities(self, texts: Rows[Rows[int]]) -> Rows[Mapping[str, float]]:
        """For each text, drafter -> probability that it is of its domain."""


class Router:
    """By a text classifier where the bundle has one; else by how likely the drafters themselves find the text."""

    def __init__(self, pool: DrafterPool, prior: TextPrior | None, score_tokens: int) -> None:
        self._pool = pool
        self._prior = prior
        self._score_tokens = score_tokens

    async def expect(self, sequences: Rows[Sequence]) -> None:
        """Set what is expected on each sequence's text: every round by the classifier, which costs next to nothing, but
        once by the drafters."""
        if not sequences:
            return
        if self._prior is not None:
            expected = self._prior.probabilities([sequence.tokens[-WINDOW:] for sequence in sequences])
            for sequence, probabilities in zip(sequences, expected, strict=True):
                sequence.routing.expect(probabilities)
        elif new := [sequence for sequence in sequences if not sequence.routed]:
            await self._ask_drafters(new)
            for sequence in new:
                sequence.routed = True

    async def _ask_drafters(self, sequences: Rows[Sequence]) -> None:
        """An expert finds the texts of its domain the least surprising. Costs each drafter a forward."""
        rows = [_score_row(sequence, self._score_tokens) for sequence in sequences]
        answers = await self._pool.ask({name: rows for name in self._pool.available() if name != LOOKUP})
        for index, sequence in enumerate(sequences):
            best = _best_drafter({name: results[index] for name, results in answers.items()})
            sequence.routing.expect({name: float(name == best) for name in answers})


def _score_row(sequence: Sequence, num_tokens: int) -> DraftRow:
    context = sequence.tokens_from(max(0, len(sequence.request.prompt) - num_tokens))
    return DraftRow(sequence.session_id, 0, context, 0, sequence.sampling, score_context=True)


def _best_drafter(results: Mapping[str, DraftResult]) -> str | None:
    """The drafter with the highest mean log-likelihood. Ties go to the first name."""
    scored = {name: result for name, result in results.items() if result.status is Status.OK}
    return max(sorted(scored), key=lambda name: scored[name].context_log_likelihood, default=None)
