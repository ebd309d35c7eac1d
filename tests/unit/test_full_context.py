"""A request that fills the verifier's context to its last token."""

import pytest
from cospec.speculation.request import Method, SpeculationMode
from scripted import ScriptedDrafter, ScriptedVerifier
from scripted_rounds import AUTO, OFF, counting, expected, generate, make_loop, make_request, often_right, output

LENGTH = 128
PROMPT = tuple(range(1, 29))
MODES = [AUTO, OFF, *(SpeculationMode(method, None, 6) for method in Method if method not in (Method.AUTO, Method.OFF))]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.method.value)
def test_a_context_can_be_filled_to_its_end_however_much_is_drafted(mode: SpeculationMode) -> None:
    verifier = ScriptedVerifier(counting, max_length=LENGTH)
    drafters = {"a": ScriptedDrafter(often_right), "b": ScriptedDrafter(counting)}
    loop = make_loop(verifier, drafters, max_length=LENGTH)
    [sequence] = generate(loop, make_request(PROMPT, max_tokens=LENGTH - len(PROMPT), mode=mode))
    assert sequence.error is None
    assert output(sequence) == expected(PROMPT, LENGTH - len(PROMPT))
