"""Every bad field is refused in one sentence that names field, value and limit."""

import pytest
from cospec.speculation.request import (
    InvalidRequest,
    RequestFields,
    RequestLimits,
    SpeculationMode,
    build_request,
    check_text,
)

LIMITS = RequestLimits(max_length=100, default_max_tokens=64, drafters=("chat", "code"), max_draft_tokens=8)
PROMPT = tuple(range(10))


def build(**fields: object):  # type: ignore[no-untyped-def]
    return build_request(RequestFields("hello", **fields), PROMPT, LIMITS, lambda: 7)  # type: ignore[arg-type]


def test_defaults() -> None:
    request = build()
    assert (request.max_tokens, request.sampling.temperature, request.sampling.seed) == (64, 1.0, 7)
    assert request.speculation == SpeculationMode()


@pytest.mark.parametrize(
    ("field", "value", "mentioned"),
    [
        ("max_tokens", 0, "from 1 to 90"),
        ("max_tokens", -3, "-3"),
        ("max_tokens", 91, "from 1 to 90"),
        ("min_tokens", 65, "from 0 to 64"),
        ("min_tokens", -1, "-1"),
        ("temperature", -0.1, "from 0 to 1000000"),
        ("temperature", 10**400, "from 0 to 1000000"),
        ("temperature", float("nan"), "nan"),
        ("temperature", float("inf"), "inf"),
        ("top_p", 0.0, "above 0"),
        ("top_p", 1.01, "at most 1"),
        ("top_p", float("nan"), "nan"),
        ("top_k", -1, "from 0"),
        ("speculation", "on", "auto, off, fixed"),
        ("speculation", "fixed:code", "fixed:<drafter>:<k>"),
        ("speculation", "fixed:poetry:4", "chat, code"),
        ("speculation", "fixed:code:9", "from 1 to 8"),
        ("speculation", "fixed:code:0", "from 1 to 8"),
        ("speculation", "fixed:code:-1", "fixed:<drafter>:<k>"),
    ],
)
def test_a_bad_value_is_named_with_its_limit(field: str, value: object, mentioned: str) -> None:
    with pytest.raises(InvalidRequest, match=field) as refusal:
        build(**{field: value})
    assert mentioned in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_prompt_that_fills_the_context_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="text_input has 100 tokens"):
        build_request(RequestFields("x"), tuple(range(100)), LIMITS, lambda: 0)


@pytest.mark.parametrize(("text", "word"), [(b"", "empty"), (b"ab\xff", "byte 2")])
def test_text_that_is_none_is_refused(text: bytes, word: str) -> None:
    with pytest.raises(InvalidRequest, match=word):
        check_text(text)


def test_sampling_parameters_fill_what_no_tensor_set() -> None:
    fields = RequestFields("x", top_k=5).with_json('{"top_k": 9, "temperature": 0, "stop_words": "END"}')
    assert (fields.top_k, fields.temperature, fields.stop_words) == (5, 0, ("END",))


@pytest.mark.parametrize(
    ("text", "mentioned"),
    [
        ("{", "not valid JSON"),
        ("[1]", "must be a JSON object"),
        ('{"beams": 3}', "unknown name 'beams'"),
        ('{"max_tokens": 1.5}', "max_tokens must be a whole number"),
        ('{"stream": 1}', "stream must be true or false"),
        ('{"stop_words": [1]}', "list of strings"),
        ('{"text_input": "y"}', "unknown name"),
    ],
)
def test_bad_sampling_parameters_are_named(text: str, mentioned: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        RequestFields("x").with_json(text)
    assert mentioned in str(refusal.value)
