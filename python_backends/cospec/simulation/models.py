"""A verifier and drafters that take as long as a cost model says, and agree as often as they are told.

The text of a sequence is a function of its number and the position, which both sides know; how sure a drafter is of a
token is drawn first, and whether it is right is drawn from that, so that confidences are honest.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cospec.speculation.cost_model import CostModel, DraftWork, VerifyWork
from cospec.speculation.types import NO_PARENT, DraftResult, DraftRow, DraftTree, Status, VerifyResult, VerifyRow

SPREAD = 6.0  # of a request's chances around its mean: a Beta distribution's total
DRAWN = 64  # positions whose chances are drawn, and then come again
LEAST, MOST = 0.02, 0.995


def token_at(session_id: int, position: int) -> int:
    return (session_id * 1_000_003 + position * 7_919) % 30_011 + 1


@dataclass
class World:
    """What is true of the sequences: how predictable each one is."""

    chances: Mapping[int, float]  # session -> mean chance that a draft token is right
    seed: int = 0
    _drawn: dict[tuple[int, str], tuple[list[float], list[bool]]] = field(default_factory=dict)

    def guess(self, session_id: int, drafter: str, position: int) -> tuple[float, bool]:
        """(how sure the drafter is of its token there, whether it is right)"""
        key = session_id, drafter
        if key not in self._drawn:
            self._drawn[key] = self._draw(session_id, drafter)
        sure, right = self._drawn[key]
        return sure[position % DRAWN], right[position % DRAWN]

    def forget(self, session_ids: Sequence[int]) -> None:
        for key in [key for key in self._drawn if key[0] in set(session_ids)]:
            del self._drawn[key]

    def _draw(self, session_id: int, drafter: str) -> tuple[list[float], list[bool]]:
        random = np.random.default_rng([self.seed, session_id, *drafter.encode()])
        mean = self.chances[session_id]
        sure = np.clip(random.beta(SPREAD * mean, SPREAD * (1 - mean), DRAWN), LEAST, MOST)
        return sure.tolist(), (random.random(DRAWN) < sure).tolist()


class SimulatedVerifier:
    def __init__(self, costs: CostModel) -> None:
        self._costs = costs
        self._busy = asyncio.Lock()

    async def verify(self, rows: Sequence[VerifyRow]) -> list[VerifyResult]:
        steps = max(row.num_tokens for row in rows)
        tokens = sum(len(row.context) + len(row.tree) for row in rows)
        longest = max(row.committed_length + len(row.context) for row in rows)
        work = VerifyWork(len(rows), tokens, longest, steps)
        async with self._busy:
            await asyncio.sleep(self._costs.verify_seconds(work) + self._costs.between_seconds(len(rows)))
        return [_verified(row) for row in rows]

    async def release(self, session_ids: Sequence[int]) -> None:
        """Nothing is held."""


class DraftingStage:
    """All drafters of a replica: what they cost depends on all that are asked at once."""

    def __init__(self, costs: CostModel, world: World) -> None:
        self.world = world
        self._costs = costs
        self._asked: list[tuple[str, Sequence[DraftRow], list[DraftResult]]] = []
        self._end: asyncio.Future[None] | None = None

    async def draft(self, drafter: str, rows: Sequence[DraftRow]) -> list[DraftResult]:
        results = [self._drafted(drafter, row) for row in rows]
        self._asked.append((drafter, rows, results))
        if self._end is None:
            self._end = asyncio.ensure_future(self._take_time())
        await asyncio.shield(self._end)
        return results

    async def _take_time(self) -> None:
        await asyncio.sleep(0)  # the others are asked at the same moment
        asked, self._asked, self._end = self._asked, [], None
        depths = [result.tree.depth() for _, _, results in asked for result in results]
        read = sum(len(row.context) for _, rows, _ in asked for row in rows)
        tokens = read + sum(max(0, depth - 1) for depth in depths)
        work = DraftWork(len({name for name, _, _ in asked}), len(depths), max(depths, default=0), tokens)
        await asyncio.sleep(self._costs.draft_seconds(work))

    def _drafted(self, drafter: str, row: DraftRow) -> DraftResult:
        """A chain, which ends where its stop rule says."""
        position, reach = row.committed_length + len(row.context), 1.0
        tokens, margins = [], []
        for place in range(position, position + row.num_draft_tokens):
            sure, right = self.world.guess(row.session_id, drafter, place)
            margins.append(math.log(sure / (1 - sure)))
            tokens.append(token_at(row.session_id, place) if right else 0)
            reach *= row.stop.chance(margins[-1])
            if reach < row.stop.below:
                break
        return DraftResult(Status.OK, DraftTree.chain(tokens, margins))


class SimulatedDrafter:
    def __init__(self, name: str, stage: DraftingStage) -> None:
        self._name = name
        self._stage = stage

    async def draft(self, rows: Sequence[DraftRow]) -> list[DraftResult]:
        return await self._stage.draft(self._name, rows)

    async def release(self, session_ids: Sequence[int]) -> None:
        self._stage.world.forget(session_ids)


def _verified(row: VerifyRow) -> VerifyResult:
    end = row.committed_length + len(row.context)
    children = {
        (parent, token): node
        for node, (parent, token) in enumerate(zip(row.tree.parents, row.tree.tokens, strict=True))
    }
    path: list[int] = []
    node = children.get((NO_PARENT, token_at(row.session_id, end)))
    while node is not None:
        path.append(node)
        node = children.get((node, token_at(row.session_id, end + len(path))))
    tokens = [token_at(row.session_id, end + number) for number in range(max(len(path) + 1, row.num_tokens))]
    return VerifyResult(Status.OK, end + len(tokens) - 1, tuple(path), tuple(tokens))
