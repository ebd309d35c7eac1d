"""Engines of this process as the round loop's `Verifier` and `Drafter`: for tests, training and debugging."""

import asyncio
from collections.abc import Sequence

from cospec.engine.drafter import DrafterEngine
from cospec.engine.verifier import VerifierEngine
from cospec.speculation.types import DraftResult, DraftRow, VerifyResult, VerifyRow


class InProcessVerifier:
    def __init__(self, engine: VerifierEngine) -> None:
        self._engine = engine

    async def verify(self, rows: Sequence[VerifyRow]) -> list[VerifyResult]:
        await asyncio.sleep(0)  # let others run, as a call to another process would
        return self._engine.verify(rows)

    async def release(self, session_ids: Sequence[int]) -> None:
        self._engine.release(session_ids)


class InProcessDrafter:
    def __init__(self, engine: DrafterEngine) -> None:
        self._engine = engine

    async def draft(self, rows: Sequence[DraftRow]) -> list[DraftResult]:
        return self._engine.draft(rows)

    async def release(self, session_ids: Sequence[int]) -> None:
        self._engine.release(session_ids)
