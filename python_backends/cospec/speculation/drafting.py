"""The drafting stage of a round: route new requests, then draft for each with its drafter.

A drafter that fails costs speed, never an answer: its requests go on without a draft, and it rests for a while.
"""

import asyncio
from collections.abc import Callable, Mapping
from collections.abc import Sequence as Rows

from cospec.speculation.routing import best_drafter
from cospec.speculation.sequence import CalleeError, Sequence
from cospec.speculation.types import Drafter, DraftResult, DraftRow, DraftTree, Status

REST_SECONDS = 1.0


class DrafterPool:
    """All drafters by name, and which of them rest after a failure."""

    def __init__(
        self, drafters: Mapping[str, Drafter], clock: Callable[[], float], log_warning: Callable[[str], None]
    ) -> None:
        self._drafters = drafters
        self._clock = clock
        self._log_warning = log_warning
        self._resting_until: dict[str, float] = {}

    def available(self) -> list[str]:
        now = self._clock()
        return [name for name in self._drafters if self._resting_until.get(name, now) <= now]

    async def route(self, sequences: Rows[Sequence], score_tokens: int) -> None:
        """Give each sequence the drafter that finds the end of its prompt the least surprising."""
        if not sequences:
            return
        started = self._clock()
        names = self.available()
        rows = [sequence.score_row(score_tokens) for sequence in sequences]
        answers = await asyncio.gather(*(self._ask(name, rows) for name in names))
        for index, sequence in enumerate(sequences):
            results = {name: answer[index] for name, answer in zip(names, answers, strict=True) if answer}
            self._choose(sequence, results)
            sequence.statistics.seconds["route"] += self._clock() - started

    async def draft(self, sequences: Rows[Sequence], default_length: int) -> list[DraftTree]:
        """One tree per sequence, empty where nothing is drafted."""
        lengths = [sequence.num_draft_tokens(default_length) for sequence in sequences]
        trees = [DraftTree()] * len(sequences)
        wanted = {sequence.drafter for sequence, length in zip(sequences, lengths, strict=True) if length}
        names = [name for name in self.available() if name in wanted]
        if len(names) == 1:  # without a task, whose start would wait for the loop's other work
            await self._draft_with(names[0], sequences, lengths, trees)
        elif names:
            await asyncio.gather(*(self._draft_with(name, sequences, lengths, trees) for name in names))
        return trees

    async def release(self, sequences: Rows[Sequence]) -> None:
        """Free every drafter's sessions of these sequences; a drafter that cannot be asked frees them by lease."""
        await asyncio.gather(*(self._release_from(name, sequences) for name in self._drafters))

    def _choose(self, sequence: Sequence, results: Mapping[str, DraftResult]) -> None:
        scored = {name: result for name, result in results.items() if result.status is Status.OK}
        sequence.drafter = best_drafter({name: result.context_log_likelihood for name, result in scored.items()})
        sequence.routed = True

    async def _draft_with(
        self, name: str, sequences: Rows[Sequence], lengths: Rows[int], trees: list[DraftTree]
    ) -> None:
        chosen = [index for index, length in enumerate(lengths) if length and sequences[index].drafter == name]
        results = await self._ask(name, [sequences[index].draft_row(name, lengths[index]) for index in chosen])
        for index, result in zip(chosen, results, strict=False):
            if result.status is Status.OK:
                trees[index] = result.tree
            else:
                sequences[index].drafter_lengths[name] = 0

    async def _ask(self, name: str, rows: Rows[DraftRow]) -> list[DraftResult]:
        try:
            return await self._drafters[name].draft(rows)
        except CalleeError as error:
            self._resting_until[name] = self._clock() + REST_SECONDS
            self._log_warning(f"drafter {name} rests for {REST_SECONDS} s: {error}")
            return []

    async def _release_from(self, name: str, sequences: Rows[Sequence]) -> None:
        held = [sequence for sequence in sequences if name in sequence.drafter_lengths]
        for sequence in held:
            del sequence.drafter_lengths[name]
        if held:
            try:
                await self._drafters[name].release([sequence.session_id for sequence in held])
            except CalleeError as error:
                self._log_warning(f"drafter {name} keeps {len(held)} sessions until their lease ends: {error}")
