"""Routing, fusion and drafters that fail, in the round loop over scripted models."""

import asyncio
from collections.abc import Sequence as Tokens

import pytest
from cospec.config import CONTROLLERS
from cospec.speculation.request import Method, SpeculationMode
from cospec.speculation.types import DraftResult, DraftRow, VerifyResult, VerifyRow
from scripted import ScriptedDrafter, ScriptedVerifier
from scripted_rounds import (
    AUTO,
    counting,
    expected,
    generate,
    make_loop,
    make_request,
    often_right,
    output,
    routed,
    wrong,
)

SCRIPTS = {"good": counting, "bad": wrong, "mixed": often_right}
METHODS = (Method.ROUTED, Method.TREE, Method.LOCKSTEP, Method.VOTE)


@pytest.mark.parametrize("lookup", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_no_way_of_drafting_changes_a_token(method: Method, lookup: bool) -> None:
    drafters = {name: ScriptedDrafter(script) for name, script in SCRIPTS.items()}
    verifier = ScriptedVerifier(counting)
    requests = [make_request((n, n + 1), 5 + n, SpeculationMode(method, None, n, lookup)) for n in range(1, 9)]
    for sequence in generate(make_loop(verifier, drafters), *requests):
        assert output(sequence) == expected(sequence.request.prompt, sequence.request.max_tokens)
        assert sequence.statistics.num_draft_tokens > 0 or sequence.request.speculation.num_draft_tokens == 0
    assert not verifier.sessions and not any(drafter.sessions for drafter in drafters.values())


def test_a_drafter_that_read_further_than_was_verified_still_has_a_token_to_read() -> None:
    """Its tree is deeper than the nodes that the verifier checks, and right all the way."""
    loop = make_loop(ScriptedVerifier(counting), {"good": ScriptedDrafter(counting)})
    [sequence] = generate(loop, make_request(max_tokens=60, mode=SpeculationMode(Method.TREE, None, 16)))
    assert output(sequence) == expected((1, 2, 3), 60)
    assert sequence.statistics.mean_acceptance_length > 5


def test_in_lockstep_drafters_that_are_right_in_turn_are_right_together() -> None:
    """Each knows half of the positions, and says how sure it is."""

    class Sure(ScriptedDrafter):
        def __init__(self, parity: int) -> None:
            super().__init__(counting)
            self.parity = parity

        def _draft(self, row: DraftRow) -> DraftResult:
            knows = (row.committed_length + len(row.context)) % 2 == self.parity
            self.next_token, self.margin = (counting, 3.0) if knows else (wrong, 0.5)
            return super()._draft(row)

    class Prior:
        def probabilities(self, texts: Tokens[Tokens[int]]) -> list[dict[str, float]]:
            return [{"even": 0.5, "odd": 0.5}] * len(texts)

    loop = make_loop(ScriptedVerifier(counting), {"even": Sure(0), "odd": Sure(1)}, prior=Prior())
    [sequence] = generate(loop, make_request(max_tokens=31, mode=SpeculationMode(Method.LOCKSTEP, None, 5)))
    assert output(sequence) == expected((1, 2, 3), 31)
    assert sequence.statistics.mean_acceptance_length == 6.0
    assert set(sequence.statistics.accepted_by) == {"even", "odd"}


def test_a_subject_that_changes_is_routed_anew_within_three_rounds() -> None:
    def before(tokens: Tokens[int]) -> int:
        return counting(tokens) if len(tokens) < 60 else 98

    def after(tokens: Tokens[int]) -> int:
        return 98 if len(tokens) < 60 else counting(tokens)

    drafters = {"b": ScriptedDrafter(before, -1.0), "a": ScriptedDrafter(after, -2.0)}
    drafters |= {name: ScriptedDrafter(wrong, -3.0) for name in ("c", "d", "e")}
    [sequence] = generate(make_loop(ScriptedVerifier(counting), drafters), make_request(max_tokens=120, mode=routed(5)))
    routes = [route for route in sequence.statistics.routes if route[0] != "none"]
    first = next(index for index, (names, _) in enumerate(routes) if "a" in names.split("+"))
    assert sum(count for names, count in routes[:first] if names != "b") <= 3
    assert routes[0][0] == "b" and routes[-1][0].split("+")[0] == "a"
    assert sequence.routing.agreement("a") > sequence.routing.agreement("b")


def test_a_prior_on_the_text_routes_without_asking_anybody() -> None:
    class Prior:
        def probabilities(self, texts: Tokens[Tokens[int]]) -> list[dict[str, float]]:
            return [{"a": 0.1, "b": 0.9}] * len(texts)

    drafters = {"a": ScriptedDrafter(counting), "b": ScriptedDrafter(counting)}
    [sequence] = generate(make_loop(ScriptedVerifier(counting), drafters, prior=Prior()), make_request(mode=routed(3)))
    assert sequence.statistics.routes[0][0] == "b"
    assert drafters["a"].num_calls == 0


def test_a_drafter_that_answers_late_is_left_out_until_it_is_back() -> None:
    class Slow(ScriptedDrafter):
        async def draft(self, rows: Tokens[DraftRow]) -> list[DraftResult]:
            answer = await super().draft(rows)
            if self.num_calls == 2:
                await asyncio.sleep(0.1)
            return answer

    class Unhurried(ScriptedVerifier):
        async def verify(self, rows: Tokens[VerifyRow]) -> list[VerifyResult]:
            await asyncio.sleep(0.01)
            return await super().verify(rows)

    warnings: list[str] = []
    slow = Slow(counting)
    loop = make_loop(Unhurried(counting), {"a": slow}, patience=0.02, warnings=warnings)
    [sequence] = generate(loop, make_request(max_tokens=90, mode=SpeculationMode(Method.FIXED, "a", 4)))
    assert output(sequence) == expected((1, 2, 3), 90)
    assert [names for names, _ in sequence.statistics.routes][:3] == ["a", "none", "a"]
    assert len(warnings) == 1 and "drafter a has not answered within 0.02 s" in warnings[0]


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_lookup_drafts_where_there_is_no_other_drafter(controller: str) -> None:
    def again_and_again(tokens: Tokens[int]) -> int:
        return (tokens[-1] + 1) % 5

    loop = make_loop(ScriptedVerifier(again_and_again), {}, controller=controller)
    modes = (AUTO, SpeculationMode(Method.TREE, None, 4, lookup=True))
    one, other = generate(loop, *(make_request(max_tokens=60, mode=mode) for mode in modes))
    assert output(one) == output(other) == [(3 + number) % 5 for number in range(1, 61)]
    assert other.statistics.num_draft_tokens > 0


def test_under_load_the_longest_drafts_shrink_first() -> None:
    drafter = ScriptedDrafter(counting)
    loop = make_loop(ScriptedVerifier(counting), {"a": drafter}, max_verify_tokens=16)
    deep, flat = (SpeculationMode(Method.TREE, None, length) for length in (12, 2))
    requests = [make_request((n,), 41, mode) for n, mode in enumerate([deep, deep, flat, flat])]
    lengths = [sequence.statistics.mean_acceptance_length for sequence in generate(loop, *requests)]
    assert all(5 <= length < 8 for length in lengths[:2]) and lengths[2:] == pytest.approx([3.0] * 2, abs=0.1)


def test_over_all_requests_of_a_round_no_more_nodes_are_verified_than_allowed() -> None:
    sizes: list[int] = []

    class Counting(ScriptedVerifier):
        async def verify(self, rows: Tokens[VerifyRow]) -> list[VerifyResult]:
            sizes.append(sum(len(row.tree) for row in rows))
            return await super().verify(rows)

    loop = make_loop(Counting(counting), {"a": ScriptedDrafter(often_right)}, max_verify_tokens=10)
    mode = SpeculationMode(Method.TREE, None, 6)
    sequences = generate(loop, *(make_request((n,), mode=mode) for n in range(6)))
    assert all(output(sequence) == expected(sequence.request.prompt, 20) for sequence in sequences)
    assert max(sizes) == 10
