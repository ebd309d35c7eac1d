"""The round loop over scripted verifier and drafters."""

import asyncio
from collections.abc import Sequence as Tokens

import pytest
from cospec.config import CONTROLLERS
from cospec.speculation.observer import Several, Unobserved
from cospec.speculation.request import GenerationRequest, Method, SpeculationMode
from cospec.speculation.sequence import Sequence
from cospec.speculation.types import DraftResult, DraftRow, VerifyResult, VerifyRow
from scripted import ScriptedDrafter, ScriptedVerifier
from scripted_rounds import (
    AUTO,
    END,
    OFF,
    counting,
    decode,
    expected,
    generate,
    make_loop,
    make_request,
    often_right,
    output,
    routed,
    wrong,
)


def test_tokens_are_the_verifiers_whatever_the_drafter() -> None:
    for script in (counting, wrong, often_right):
        loop = make_loop(ScriptedVerifier(counting), {"a": ScriptedDrafter(script)})
        [sequence] = generate(loop, make_request())
        assert output(sequence) == expected((1, 2, 3), 20)
        assert sequence.finish is not None and sequence.finish.reason == "length"


def test_every_fixed_draft_length_gives_the_same_tokens_and_exactly_max_tokens() -> None:
    for length in range(1, 9):
        mode = SpeculationMode(Method.FIXED, "a", length)
        loop = make_loop(ScriptedVerifier(counting), {"a": ScriptedDrafter(often_right)})
        [sequence] = generate(loop, make_request(max_tokens=17, mode=mode))
        assert output(sequence) == expected((1, 2, 3), 17)


def test_off_asks_no_drafter() -> None:
    drafter = ScriptedDrafter(counting)
    [sequence] = generate(make_loop(ScriptedVerifier(counting), {"a": drafter}), make_request(mode=OFF))
    assert drafter.num_calls == 0
    assert sequence.statistics.num_draft_tokens == 0


def test_a_perfect_drafter_is_accepted_whole() -> None:
    loop = make_loop(ScriptedVerifier(counting), {"a": ScriptedDrafter(counting)})
    [sequence] = generate(loop, make_request(max_tokens=21, mode=SpeculationMode(Method.FIXED, "a", 4)))
    assert sequence.statistics.mean_acceptance_length == 5.0  # four drafted and the bonus token
    assert sequence.statistics.rounds == 4


def test_the_least_surprised_drafter_is_chosen_and_the_others_are_released() -> None:
    drafters = {
        "a": ScriptedDrafter(counting, -3.0),
        "b": ScriptedDrafter(counting, -1.0),
        "c": ScriptedDrafter(wrong, -2.0),
    }
    [sequence] = generate(make_loop(ScriptedVerifier(counting), drafters), make_request(mode=routed(3)))
    assert sequence.statistics.routes[0][0] == "b"
    assert not any(drafter.sessions for drafter in drafters.values())


def test_end_token_inside_an_accepted_block_ends_there() -> None:
    def ending(tokens: Tokens[int]) -> int:
        return END if len(tokens) == 8 else counting(tokens)

    loop = make_loop(ScriptedVerifier(ending), {"a": ScriptedDrafter(ending)})
    ended, ignoring = generate(loop, make_request(), make_request(ignore_eos=True))
    assert output(ended)[-1] == END and len(output(ended)) == 6
    assert ended.finish is not None and (ended.finish.reason, ended.finish.detail) == ("stop", "</s>")
    assert len(output(ignoring)) == 20


def test_stop_word_across_tokens_ends_the_request_and_is_not_shown() -> None:
    text = decode(expected((1, 2, 3), 20))
    loop = make_loop(ScriptedVerifier(counting), {"a": ScriptedDrafter(counting)})
    [sequence] = generate(loop, make_request(stop_words=(text[5:8],)))
    assert sequence.text.finish() == text[:5]
    assert sequence.num_output_tokens == 8


def test_many_requests_of_unequal_acceptance_share_groups_and_keep_their_tokens() -> None:
    verifier = ScriptedVerifier(counting)
    drafters = {"good": ScriptedDrafter(counting), "bad": ScriptedDrafter(wrong), "mixed": ScriptedDrafter(often_right)}
    modes = [SpeculationMode(Method.FIXED, name, 3) for name in drafters] + [OFF, AUTO]
    requests = [make_request((n, n + 1), 5 + n, modes[n % 5]) for n in range(30)]
    sequences = generate(make_loop(verifier, drafters), *requests)
    for sequence in sequences:
        assert output(sequence) == expected(sequence.request.prompt, sequence.request.max_tokens)
    assert max(verifier.group_sizes) == 30
    assert not verifier.sessions


def test_a_verifier_that_loses_its_state_is_sent_the_tokens_again() -> None:
    class Forgetful(ScriptedVerifier):
        async def verify(self, rows):  # type: ignore[no-untyped-def]
            if len(self.group_sizes) in (2, 5):
                self.sessions.clear()
            return await super().verify(rows)

    loop = make_loop(Forgetful(counting), {"a": ScriptedDrafter(often_right)})
    [sequence] = generate(loop, make_request())
    assert output(sequence) == expected((1, 2, 3), 20)


def test_a_failing_verifier_is_tried_again_and_then_ends_the_request_with_its_error() -> None:
    loop = make_loop(ScriptedVerifier(counting, failures=1), {"a": ScriptedDrafter(counting)})
    [sequence] = generate(loop, make_request())
    assert output(sequence) == expected((1, 2, 3), 20)
    loop = make_loop(
        ScriptedVerifier(counting, failures=1000), {"a": ScriptedDrafter(counting)}, verifier_retry_seconds=0
    )
    [sequence] = generate(loop, make_request())
    assert sequence.error is not None and "verifier failed" in str(sequence.error)


class CancelledDrafter(ScriptedDrafter):
    async def draft(self, rows: Tokens[DraftRow]) -> list[DraftResult]:
        raise asyncio.CancelledError


def test_a_drafter_whose_call_is_cancelled_costs_no_token() -> None:
    loop = make_loop(ScriptedVerifier(counting), {"a": CancelledDrafter(counting)})
    [sequence] = generate(loop, make_request(mode=routed(4)))
    assert output(sequence) == expected((1, 2, 3), 20)
    assert not sequence.statistics.num_draft_tokens


def test_a_failing_drafter_costs_no_token() -> None:
    loop = make_loop(ScriptedVerifier(counting), {"a": ScriptedDrafter(counting, failures=1000)})
    [sequence] = generate(loop, make_request(mode=SpeculationMode(Method.FIXED, "a", 4)))
    assert output(sequence) == expected((1, 2, 3), 20)
    assert sequence.statistics.num_draft_tokens == 0


def test_requests_beyond_the_slots_wait_and_finish() -> None:
    loop = make_loop(ScriptedVerifier(counting, num_slots=2), {"a": ScriptedDrafter(counting)})
    sequences = generate(loop, *(make_request((n,)) for n in range(7)))
    assert all(output(sequence) == expected(sequence.request.prompt, 20) for sequence in sequences)


def test_a_request_may_name_the_controller_of_its_drafts_and_fixed_always_drafts() -> None:
    verifier, drafter = ScriptedVerifier(counting), ScriptedDrafter(counting)
    by_schedule, by_nobody = SpeculationMode(controller="schedule"), SpeculationMode(controller="off")
    fixed = make_request((20,), mode=SpeculationMode(Method.FIXED, "a", 4))
    silent, told = generate(make_loop(verifier, {"a": drafter}), make_request((19,), mode=by_nobody), fixed)
    assert silent.statistics.num_draft_tokens == 0 and told.statistics.num_draft_tokens > 0
    [alone] = generate(make_loop(verifier, {"a": drafter}), make_request(mode=by_schedule))
    assert alone.statistics.mean_acceptance_length > 5


def test_what_callers_make_a_stranger_draft_is_not_held_against_what_the_server_chooses() -> None:
    def last_of(*requests: GenerationRequest) -> Sequence:
        drafters = {"a": ScriptedDrafter(counting), "stranger": ScriptedDrafter(wrong)}
        return generate(make_loop(ScriptedVerifier(counting, num_slots=1), drafters), *requests)[-1]

    by_stranger = [make_request((n,), mode=SpeculationMode(Method.FIXED, "stranger", 4)) for n in range(20)]
    alone, after = last_of(make_request((7, 8))), last_of(*by_stranger, make_request((7, 8)))
    assert after.statistics.drafted_rounds == alone.statistics.drafted_rounds > 0


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_no_controller_changes_a_token(controller: str) -> None:
    mode, drafters = SpeculationMode(controller=controller), {"a": ScriptedDrafter(often_right)}
    requests = [make_request((n, n + 1), 20 + n, mode) for n in range(1, 9)]
    for sequence in generate(make_loop(ScriptedVerifier(counting), drafters), *requests):
        assert output(sequence) == expected(sequence.request.prompt, sequence.request.max_tokens)


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_whatever_the_default_controller_a_request_that_names_its_drafts_gets_them(controller: str) -> None:
    modes = (SpeculationMode(Method.FIXED, "a", 4), routed(4), SpeculationMode(Method.TREE, None, 4))
    loop = make_loop(ScriptedVerifier(counting), {"a": ScriptedDrafter(counting)}, controller=controller)
    for sequence in generate(loop, *(make_request((n, 7), mode=mode) for n, mode in enumerate(modes))):
        assert sequence.statistics.mean_acceptance_length > 3


def test_a_long_prompt_beside_others_is_read_in_pieces_and_says_the_same() -> None:
    class Watching(ScriptedVerifier):
        longest = 0

        async def verify(self, rows: Tokens[VerifyRow]) -> list[VerifyResult]:
            if any(row.committed_length for row in rows):
                self.longest = max(self.longest, *(len(row.context) for row in rows))
            return await super().verify(rows)

    async def late_prompt() -> list[Sequence]:
        task = asyncio.create_task(loop.run())
        early = loop.submit(1, make_request(max_tokens=200, mode=OFF), decode)
        while early.num_output_tokens < 20:
            await early.progress.wait()
            early.progress.clear()
        late = loop.submit(2, make_request(prompt, max_tokens=30), decode)
        for sequence in (late, early):
            while not sequence.done:
                await sequence.progress.wait()
                sequence.progress.clear()
        task.cancel()
        return [early, late]

    prompt = tuple(number % 90 for number in range(700))
    verifier = Watching(counting)
    loop = make_loop(verifier, {"a": ScriptedDrafter(often_right)}, prefill_share=0.01)
    early, late = asyncio.run(asyncio.wait_for(late_prompt(), 20))
    assert output(early) == expected((1, 2, 3), 200) and output(late) == expected(prompt, 30)
    assert 1 < verifier.longest < 350
    assert late.statistics.rounds < 31  # pieces of a prompt are none


def test_where_nobody_drafts_a_call_brings_several_tokens() -> None:
    verifier = ScriptedVerifier(counting)
    loop = make_loop(verifier, {}, plain_tokens_per_call=4)
    [sequence] = generate(loop, make_request(max_tokens=10, mode=SpeculationMode(Method.OFF)))
    assert output(sequence) == expected((1, 2, 3), 10)
    assert len(verifier.group_sizes) == 4  # the prompt's own, then 4 + 4 + 1


def test_a_cancelled_request_ends_and_frees_its_sessions() -> None:
    verifier, drafter = ScriptedVerifier(counting), ScriptedDrafter(counting)
    loop = make_loop(verifier, {"a": drafter})
    cancelled, other = generate(loop, make_request(max_tokens=900), make_request(max_tokens=20), cancel=0)
    assert cancelled.finish is not None and cancelled.finish.reason == "cancelled"
    assert output(other) == expected((1, 2, 3), 20)
    assert not verifier.sessions and not drafter.sessions


def test_an_exception_in_a_round_ends_its_requests_and_the_loop_serves_on() -> None:
    class Broken(ScriptedVerifier):
        async def verify(self, rows):  # type: ignore[no-untyped-def]
            if not self.group_sizes:
                self.group_sizes.append(0)
                raise ZeroDivisionError
            return await super().verify(rows)

    loop = make_loop(Broken(counting), {"a": ScriptedDrafter(counting)}, max_group_size=1)
    broken, served = generate(loop, make_request(), make_request())
    assert "internal error" in str(broken.error)
    assert output(served) == expected((1, 2, 3), 20)


def test_where_no_group_can_be_chosen_the_waiting_end_and_the_loop_serves_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken_once(*_: object) -> list[int]:
        monkeypatch.undo()
        raise ZeroDivisionError

    async def one_after_another() -> list[Sequence]:
        task = asyncio.create_task(loop.run())
        sequences = []
        for number in range(2):
            sequences.append(loop.submit(number, make_request(), decode))
            while not sequences[-1].done:
                await sequences[-1].progress.wait()
                sequences[-1].progress.clear()
        task.cancel()
        return sequences

    loop = make_loop(ScriptedVerifier(counting), {"a": ScriptedDrafter(counting)})
    monkeypatch.setattr(loop.steering, "choose_group", broken_once)
    broken, served = asyncio.run(asyncio.wait_for(one_after_another(), 20))
    assert "internal error" in str(broken.error)
    assert output(served) == expected((1, 2, 3), 20)
    assert not len(loop.pool)


def test_what_a_failed_verification_took_teaches_nothing() -> None:
    warnings: list[str] = []
    verifier = ScriptedVerifier(counting, failures=3)
    loop = make_loop(verifier, {"a": ScriptedDrafter(counting)}, warnings=warnings)
    [sequence] = generate(loop, make_request())
    assert output(sequence) == expected((1, 2, 3), 20) and "verifier failed" in warnings[0]
    assert len(sequence.statistics.timeline) == len(verifier.group_sizes)


def test_an_observer_that_fails_costs_no_request_and_is_named_once() -> None:
    class Failing(Unobserved):
        def round_ended(self, *_: object) -> None:
            raise ZeroDivisionError

    class Counting(Unobserved):
        rounds = 0

        def round_ended(self, *_: object) -> None:
            self.rounds += 1

    watching, warnings = Counting(), list[str]()
    both = Several([Failing(), watching], warnings.append)
    loop = make_loop(ScriptedVerifier(counting), {"a": ScriptedDrafter(counting)}, observer=both)
    [sequence] = generate(loop, make_request())
    assert output(sequence) == expected((1, 2, 3), 20) and watching.rounds > 1
    assert len(warnings) == 1 and "Failing failed" in warnings[0]
