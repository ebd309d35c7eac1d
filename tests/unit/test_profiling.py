"""Costs measured at start, over scripted models on a clock of their own."""

import asyncio
from collections.abc import Sequence

import pytest
from cospec.simulation.virtual_time import run
from cospec.speculation.cost_model import CostModel, Learnt, VerifyWork
from cospec.speculation.profiling import KEPT_EVERY, Profile, Profiler, keep_learnt
from cospec.speculation.rounds import RoundLoop
from cospec.speculation.sequence import CalleeError
from cospec.speculation.types import DraftResult, DraftRow, VerifyResult, VerifyRow
from scripted import ScriptedDrafter, ScriptedVerifier
from scripted_rounds import counting, make_loop


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class TimedVerifier(ScriptedVerifier):
    def __init__(self, clock: Clock) -> None:
        super().__init__(counting)
        self.clock = clock

    async def verify(self, rows: Sequence[VerifyRow]) -> list[VerifyResult]:
        self.clock.now += 2e-3 + 1e-4 * sum(len(row.context) + len(row.tree) for row in rows) * rows[0].num_tokens
        return await super().verify(rows)


class TimedDrafter(ScriptedDrafter):
    def __init__(self, clock: Clock) -> None:
        super().__init__(counting)
        self.clock = clock

    async def draft(self, rows: Sequence[DraftRow]) -> list[DraftResult]:
        self.clock.now += 1e-3 + 1e-4 * rows[0].num_draft_tokens
        return await super().draft(rows)


def profiled(most_rows: int = 64) -> tuple[Profile, TimedVerifier, dict[str, TimedDrafter]]:
    clock = Clock()
    verifier, drafters = TimedVerifier(clock), {name: TimedDrafter(clock) for name in "ab"}
    return asyncio.run(Profiler(verifier, drafters, clock, most_rows, 1024).profile()), verifier, drafters


def test_every_size_is_measured_and_nothing_is_left_behind() -> None:
    profile, verifier, drafters = profiled()
    assert {work.rows for work, _ in profile.verify} == {1, 4, 16, 64}
    assert {work.drafters for work, _ in profile.draft} == {1, 2}
    for work, seconds in profile.verify:
        assert seconds == pytest.approx(2e-3 + 1e-4 * work.tokens * work.steps)
    assert not verifier.sessions and not any(drafter.sessions for drafter in drafters.values())


def test_no_more_rows_are_measured_than_there_are_slots() -> None:
    profile, _, _ = profiled(most_rows=8)
    assert {work.rows for work, _ in profile.verify} == {1, 4}


class Kept:
    def __init__(self, profile: Profile | None = None) -> None:
        self.profile = profile
        self.learnt: Learnt | None = None

    def load(self) -> Profile | None:
        return self.profile

    def save(self, profile: Profile) -> None:
        self.profile = profile

    def save_learnt(self, learnt: Learnt) -> None:
        self.learnt = learnt


def loop_over(verifier: ScriptedVerifier, warnings: list[str]) -> RoundLoop:
    return make_loop(verifier, {"a": ScriptedDrafter(counting)}, warnings=warnings)


def test_a_loop_measures_once_and_remembers() -> None:
    kept, verifier = Kept(), ScriptedVerifier(counting)
    asyncio.run(loop_over(verifier, []).know_costs(kept))
    assert kept.profile is not None and kept.profile.verify and kept.profile.draft
    calls = len(verifier.group_sizes)
    asyncio.run(loop_over(verifier, []).know_costs(kept))
    assert len(verifier.group_sizes) == calls


def test_a_verifier_that_fails_costs_the_profile_and_nothing_else() -> None:
    class Broken(ScriptedVerifier):
        async def verify(self, rows: Sequence[VerifyRow]) -> list[VerifyResult]:
            raise CalleeError("verifier failed")

    kept, warnings = Kept(), []
    asyncio.run(loop_over(Broken(counting), warnings).know_costs(kept))
    assert kept.profile is None and "costs could not be measured" in warnings[0]


def test_a_profile_that_cannot_be_kept_is_used_all_the_same() -> None:
    class Full(Kept):
        def save(self, profile: Profile) -> None:
            raise OSError("no space left on device")

    warnings: list[str] = []
    loop = loop_over(ScriptedVerifier(counting), warnings)
    asyncio.run(loop.know_costs(Full()))
    assert loop.steering.costs.verify_seconds(VerifyWork(1, 1, 16)) > 0
    assert "no space left" in warnings[0] and "anew at the next start" in warnings[0]


def test_a_kept_profile_that_cannot_be_read_costs_the_profile_and_nothing_else() -> None:
    class Damaged(Kept):
        def load(self) -> Profile | None:
            raise ValueError("damaged")

    warnings: list[str] = []
    asyncio.run(loop_over(ScriptedVerifier(counting), warnings).know_costs(Damaged()))
    assert "costs could not be measured" in warnings[0]


def slower(costs: CostModel) -> None:
    for _ in range(8):
        costs.observe_verify(VerifyWork(4, 4, 64), 0.5)


def test_what_is_learnt_while_serving_is_kept_every_so_often() -> None:
    async def serve() -> None:
        costs, kept = CostModel(), Kept()
        keeping = asyncio.create_task(keep_learnt(costs, kept, pytest.fail))
        await asyncio.sleep(1.5 * KEPT_EVERY)
        assert kept.learnt is None, "nothing was learnt"
        slower(costs)
        await asyncio.sleep(KEPT_EVERY)
        assert kept.learnt == costs.learnt() != CostModel().learnt()
        keeping.cancel()

    run(serve())


def test_costs_that_cannot_be_kept_are_told_of_once() -> None:
    class Full(Kept):
        def save_learnt(self, learnt: Learnt) -> None:
            raise OSError("no space left on device")

    warnings: list[str] = []

    async def serve() -> None:
        costs = CostModel()
        keeping = asyncio.create_task(keep_learnt(costs, Full(), warnings.append))
        for _ in range(3):
            await asyncio.sleep(KEPT_EVERY)
            slower(costs)
        await keeping

    run(serve())
    [warning] = warnings
    assert "costs that are learnt while serving are not kept" in warning and "no space left" in warning
