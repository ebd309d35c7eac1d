"""The free expert: continuation of what was there before."""

import asyncio

import numpy as np
from cospec.speculation.lookup import LookupDrafter
from cospec.speculation.types import DraftResult, DraftRow, SamplingParameters, Status


def draft(drafter: LookupDrafter, held: int, context: list[int], count: int = 4, session: int = 1) -> DraftResult:
    row = DraftRow(session, held, np.asarray(context, dtype=np.int32), count, SamplingParameters())
    [result] = asyncio.run(drafter.draft([row]))
    return result


def test_it_goes_on_as_the_longest_match_did_and_says_how_long_it_was() -> None:
    result = draft(LookupDrafter(), 0, [1, 2, 3, 4, 5, 9, 2, 3, 7, 1, 2, 3])
    assert result.tree.tokens == (4, 5, 9, 2) and set(result.tree.margins) == {3.0}


def test_among_equal_matches_the_latest_counts() -> None:
    assert draft(LookupDrafter(), 0, [2, 3, 4, 8, 2, 3, 5, 9, 2, 3], 1).tree.tokens == (5,)


def test_without_a_match_it_is_silent() -> None:
    result = draft(LookupDrafter(), 0, [1, 2, 3, 4])
    assert result.status is Status.OK and len(result.tree) == 0


def test_it_learns_from_the_output_as_it_grows() -> None:
    drafter = LookupDrafter()
    draft(drafter, 0, [1, 2, 3])
    draft(drafter, 3, [4, 5])
    assert draft(drafter, 5, [2, 3], 2).tree.tokens == (4, 5)
    assert draft(LookupDrafter(), 3, [4]).status is Status.UNKNOWN_STATE


def test_told_anew_it_forgets_what_it_knew() -> None:
    drafter = LookupDrafter()
    draft(drafter, 0, [1, 2, 3, 4])
    assert len(draft(drafter, 0, [8, 2, 3]).tree) == 0


def test_released_sessions_are_gone() -> None:
    drafter = LookupDrafter()
    draft(drafter, 0, [1, 2, 3])
    asyncio.run(drafter.release([1, 77]))
    assert draft(drafter, 3, [4]).status is Status.UNKNOWN_STATE
