"""The round loop over scripted verifier and drafters."""

import asyncio
import time
from collections.abc import Sequence as Tokens

import pytest
from cospec.config import ServingSettings, Settings, SpeculationSettings
from cospec.speculation.request import GenerationRequest, Method, SpeculationMode
from cospec.speculation.rounds import RoundLoop
from cospec.speculation.router import TextPrior
from cospec.speculation.sequence import Sequence
from cospec.speculation.types import DraftResult, DraftRow, SamplingParameters, VerifyResult, VerifyRow
from scripted import ScriptedDrafter, ScriptedVerifier

END = 99
AUTO, OFF = SpeculationMode(), SpeculationMode(Method.OFF)


def routed(length: int) -> SpeculationMode:
    return SpeculationMode(Method.ROUTED, None, length)


def counting(tokens: Tokens[int]) -> int:
    """The verifier's script: never repeats within a test, and depends on everything before."""
    return (sum(tokens) * 31 + len(tokens)) % 97


def wrong(tokens: Tokens[int]) -> int:
    return 98


def often_right(tokens: Tokens[int]) -> int:
    return counting(tokens) if len(tokens) % 3 else 98


def decode(tokens: Tokens[int]) -> str:
    return "".join(chr(0x4E00 + token) for token in tokens)


def make_request(
    prompt: tuple[int, ...] = (1, 2, 3), max_tokens: int = 20, mode: SpeculationMode = AUTO, **others: object
):
    return GenerationRequest(prompt, max_tokens, SamplingParameters(), mode, **others)  # type: ignore[arg-type]


def make_loop(
    verifier: ScriptedVerifier,
    drafters: dict[str, ScriptedDrafter],
    prior: TextPrior | None = None,
    patience: float = 1.0,
    warnings: list[str] | None = None,
    **serving: object,
) -> RoundLoop:
    speculation = SpeculationSettings(draft_patience_seconds=patience)
    settings = Settings(tuple(drafters), speculation=speculation, serving=ServingSettings(**serving))  # type: ignore[arg-type]
    log = [].append if warnings is None else warnings.append
    return RoundLoop(verifier, drafters, {END: "</s>"}, settings, time.monotonic, log, prior)


def generate(loop: RoundLoop, *requests: GenerationRequest, cancel: int | None = None) -> list[Sequence]:
    """Run every request to its end and let the releases finish."""

    async def run() -> list[Sequence]:
        task = asyncio.create_task(loop.run())
        sequences = [loop.submit(number, request, decode) for number, request in enumerate(requests)]
        for sequence in sequences:
            while not sequence.done:
                await sequence.progress.wait()
                sequence.progress.clear()
                if sequence.session_id == cancel:
                    sequence.cancelled = True
        await loop.drain()
        task.cancel()
        return sequences

    return asyncio.run(asyncio.wait_for(run(), 20))


def output(sequence: Sequence) -> list[int]:
    return sequence.tokens[len(sequence.request.prompt) :]


def expected(prompt: Tokens[int], count: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(counting(tokens))
    return tokens[len(prompt) :]


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


def test_a_failing_drafter_costs_no_token() -> None:
    loop = make_loop(ScriptedVerifier(counting), {"a": ScriptedDrafter(counting, failures=1000)})
    [sequence] = generate(loop, make_request(mode=SpeculationMode(Method.FIXED, "a", 4)))
    assert output(sequence) == expected((1, 2, 3), 20)
    assert sequence.statistics.num_draft_tokens == 0


def test_requests_beyond_the_slots_wait_and_finish() -> None:
    loop = make_loop(ScriptedVerifier(counting, num_slots=2), {"a": ScriptedDrafter(counting)})
    sequences = generate(loop, *(make_request((n,)) for n in range(7)))
    assert all(output(sequence) == expected(sequence.request.prompt, 20) for sequence in sequences)


def test_auto_does_not_draft_beyond_so_many_live_requests_and_fixed_always_does() -> None:
    verifier, drafter = ScriptedVerifier(counting), ScriptedDrafter(counting)
    loop = make_loop(verifier, {"a": drafter})
    fixed = make_request((8,), mode=SpeculationMode(Method.FIXED, "a", 4))
    *crowd, told = generate(loop, *(make_request((n,)) for n in range(6)), fixed)
    assert all(sequence.statistics.num_draft_tokens == 0 for sequence in crowd)
    assert told.statistics.num_draft_tokens > 0
    [alone] = generate(make_loop(verifier, {"a": drafter}), make_request())
    assert alone.statistics.num_draft_tokens > 0


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
        def probabilities(self, tokens: Tokens[int]) -> dict[str, float]:
            return {"even": 0.5, "odd": 0.5}

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
    routes = sequence.statistics.routes
    first = next(index for index, (names, _) in enumerate(routes) if "a" in names.split("+"))
    assert sum(count for names, count in routes[:first] if names != "b") <= 3
    assert routes[0][0] == "b" and routes[-1][0].split("+")[0] == "a"
    assert sequence.routing.agreement("a") > sequence.routing.agreement("b")


def test_a_prior_on_the_text_routes_without_asking_anybody() -> None:
    class Prior:
        def probabilities(self, tokens: Tokens[int]) -> dict[str, float]:
            return {"a": 0.1, "b": 0.9}

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
    assert [names for names, _ in sequence.statistics.routes] == ["a", "none", "a"]
    assert len(warnings) == 1 and "drafter a has not answered within 0.02 s" in warnings[0]


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
