"""A request as the round loop sees it, and the checks that turn a caller's values into one."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import Any

from cospec.config import CONTROLLERS, SloSettings
from cospec.speculation.slo import NO_SLO, Slo
from cospec.speculation.types import SamplingParameters

GREEDY_BELOW = 1e-5  # temperatures that scores could not be divided by in float32, and that mean none
HIGHEST_TEMPERATURE = 1e6
LEAST_PROMISE, MOST_PROMISE = 0.001, 1e9  # milliseconds


class InvalidRequest(ValueError):
    """A value that the caller must change; the message names field, value and limit."""


class Method(str, Enum):
    """How drafts are made."""

    AUTO = "auto"  # as the server thinks best
    OFF = "off"
    FIXED = "fixed"  # one named drafter's chain
    ROUTED = "routed"  # the chain of the drafter that routing finds best
    TREE = "tree"  # the trees of several drafters, merged
    LOCKSTEP = "lockstep"  # at each depth all drafters go on from the most confident one's token
    VOTE = "vote"  # of several drafters' chains, the path with the most weight


FUSING = (Method.ROUTED, Method.TREE, Method.LOCKSTEP, Method.VOTE)
WITH_LOOKUP = "+lookup"
_AUTO_BY = {f"{Method.AUTO.value}:{name}": name for name in CONTROLLERS}


@dataclass(frozen=True)
class SpeculationMode:
    """`auto`, `off`, or what the caller has fixed."""

    method: Method = Method.AUTO
    drafter: str | None = None
    num_draft_tokens: int | None = None
    lookup: bool = False  # whether the free expert takes part
    controller: str | None = None  # of `auto`; None: the settings' own

    @property
    def forced(self) -> bool:
        """Drafts are what the caller has fixed, and say nothing of what they would be otherwise."""
        return self.method not in (Method.AUTO, Method.OFF)

    @staticmethod
    def parse(text: str, drafters: tuple[str, ...], max_draft_tokens: int) -> "SpeculationMode":
        if text in (Method.AUTO.value, Method.OFF.value):
            return SpeculationMode(Method(text))
        if text in _AUTO_BY:
            return SpeculationMode(controller=_AUTO_BY[text])
        words = text.removesuffix(WITH_LOOKUP).split(":")
        named = words[0] == Method.FIXED.value
        known = named or words[0] in [method.value for method in FUSING]
        if not known or len(words) != 2 + named or not words[-1].isdecimal():
            raise InvalidRequest(
                f"speculation must be auto, off, fixed:<drafter>:<k>, auto:<{'|'.join(CONTROLLERS)}>, or "
                f"{', '.join(method.value + ':<k>' for method in FUSING)} (each with {WITH_LOOKUP} or without), "
                f"got {text!r}"
            )
        if named and words[1] not in drafters:
            raise InvalidRequest(f"speculation names the unknown drafter {words[1]!r}; drafters: {', '.join(drafters)}")
        if not 1 <= int(words[-1]) <= max_draft_tokens:
            raise InvalidRequest(f"speculation must draft from 1 to {max_draft_tokens} tokens, got {words[-1]}")
        drafter = words[1] if named else None
        return SpeculationMode(Method(words[0]), drafter, int(words[-1]), text.endswith(WITH_LOOKUP))


@dataclass(frozen=True)
class RequestFields:
    """The inputs of `orchestrator`, as sent. None: not sent."""

    text_input: str
    max_tokens: int | None = None
    min_tokens: int | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    stop_words: tuple[str, ...] | None = None
    ignore_eos: bool | None = None
    exclude_input_in_output: bool | None = None
    speculation: str | None = None
    slo_class: str | None = None
    slo_ttft_ms: float | None = None
    slo_tpot_ms: float | None = None
    traceparent: str | None = None
    return_num_input_tokens: bool | None = None
    return_num_output_tokens: bool | None = None
    return_finish_reason: bool | None = None
    return_perf_metrics: bool | None = None

    def with_json(self, text: str) -> "RequestFields":
        """Fields of the JSON object `sampling_parameters`; a field sent as a tensor of its own wins."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise InvalidRequest(f"sampling_parameters is not valid JSON: {error}") from None
        if not isinstance(values, dict):
            raise InvalidRequest(f"sampling_parameters must be a JSON object, got {text[:60]!r}")
        checked = {name: _json_value(name, value) for name, value in values.items()}
        return replace(self, **{name: value for name, value in checked.items() if getattr(self, name) is None})


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_JSON_TYPES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "int | None": ("a whole number", _is_int),
    "float | None": ("a number", lambda value: _is_int(value) or isinstance(value, float)),
    "bool | None": ("true or false", lambda value: isinstance(value, bool)),
    "str | None": ("a string", lambda value: isinstance(value, str)),
    "tuple[str, ...] | None": (
        "a string or a list of strings",
        lambda value: isinstance(value, list) and all(isinstance(word, str) for word in value),
    ),
}
_JSON_FIELDS = {item.name: str(item.type) for item in fields(RequestFields) if item.name != "text_input"}


def _json_value(name: str, value: Any) -> Any:
    if name not in _JSON_FIELDS:
        raise InvalidRequest(f"sampling_parameters has the unknown name {name!r}; names: {', '.join(_JSON_FIELDS)}")
    kind, matches = _JSON_TYPES[_JSON_FIELDS[name]]
    if name == "stop_words" and isinstance(value, str):
        value = [value]
    if not matches(value):
        raise InvalidRequest(f"sampling_parameters.{name} must be {kind}, got {value!r}")
    return tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True)
class RequestLimits:
    """What a server allows."""

    max_length: int  # tokens of prompt and output together
    default_max_tokens: int
    drafters: tuple[str, ...]
    max_draft_tokens: int
    slo_classes: Mapping[str, SloSettings] = field(default_factory=dict)


@dataclass(frozen=True)
class GenerationRequest:
    prompt: tuple[int, ...]
    max_tokens: int
    sampling: SamplingParameters
    speculation: SpeculationMode
    stop_words: tuple[str, ...] = ()
    ignore_eos: bool = False
    stream: bool = False
    slo: Slo = NO_SLO


def build_request(
    sent: RequestFields, prompt: tuple[int, ...], limits: RequestLimits, new_seed: Callable[[], int]
) -> GenerationRequest:
    """Check every field against `limits`; raises `InvalidRequest` with one sentence."""
    max_tokens = _max_tokens(sent, len(prompt), limits)
    min_tokens = _whole("min_tokens", sent.min_tokens, 0, max_tokens, default=0)
    seed = new_seed() if sent.seed is None else _whole("seed", sent.seed, 0, 2**64 - 1, default=0)
    sampling = SamplingParameters(
        temperature=_temperature(sent.temperature),
        top_k=_whole("top_k", sent.top_k, 0, 2**31 - 1, default=0),
        top_p=_top_p(sent.top_p),
        seed=seed,
        eos_allowed_from=len(prompt) + min_tokens,
    )
    mode = SpeculationMode.parse(sent.speculation or "auto", limits.drafters, limits.max_draft_tokens)
    return GenerationRequest(
        prompt,
        max_tokens,
        sampling,
        mode,
        tuple(word for word in sent.stop_words or () if word),
        bool(sent.ignore_eos),
        bool(sent.stream),
        _slo(sent, limits.slo_classes),
    )


def check_text(text: bytes) -> str:
    """The prompt, if it is not empty and UTF-8."""
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"text_input is not valid UTF-8 at byte {error.start}") from None
    if not decoded:
        raise InvalidRequest("text_input is empty; it must hold at least one character")
    return decoded


def _slo(sent: RequestFields, classes: Mapping[str, SloSettings]) -> Slo:
    """The class's promises, and the request's own where it has them."""
    name = sent.slo_class or ""
    if name and name not in classes:
        raise InvalidRequest(f"slo_class must be one of {', '.join(classes)}, got {name!r}")
    promised = slo_of(classes[name], name) if name else NO_SLO
    return Slo(
        _promise("slo_ttft_ms", sent.slo_ttft_ms, promised.ttft),
        _promise("slo_tpot_ms", sent.slo_tpot_ms, promised.tpot),
        name,
    )


def slo_of(promised: SloSettings, name: str) -> Slo:
    ttft, tpot = (value / 1e3 if value else math.inf for value in (promised.ttft_ms, promised.tpot_ms))
    return Slo(ttft, tpot, name)


def _promise(name: str, sent: float | None, of_class: float) -> float:
    """Seconds; infinite where nothing is promised."""
    if sent is None:
        return of_class
    if not LEAST_PROMISE <= sent <= MOST_PROMISE:  # also false for NaN
        raise InvalidRequest(f"{name} must be from {LEAST_PROMISE} to {MOST_PROMISE:.0f}, got {sent}")
    return sent / 1e3


def _max_tokens(sent: RequestFields, prompt_length: int, limits: RequestLimits) -> int:
    room = limits.max_length - prompt_length
    if room < 1:
        raise InvalidRequest(
            f"text_input has {prompt_length} tokens; prompt and output together hold at most {limits.max_length}"
        )
    return _whole("max_tokens", sent.max_tokens, 1, room, default=min(room, limits.default_max_tokens))


def _whole(name: str, value: int | None, low: int, high: int, default: int) -> int:
    if value is None:
        return default
    if not low <= value <= high:
        raise InvalidRequest(f"{name} must be from {low} to {high} here, got {value}")
    return value


def _temperature(value: float | None) -> float:
    if value is None:
        return 1.0
    if not 0 <= value <= HIGHEST_TEMPERATURE:  # also false for NaN
        raise InvalidRequest(f"temperature must be from 0 to {HIGHEST_TEMPERATURE:.0f}, got {value}")
    return float(value) if value >= GREEDY_BELOW else 0.0


def _top_p(value: float | None) -> float:
    if value is None:
        return 1.0
    if not 0 < value <= 1:  # also false for NaN
        raise InvalidRequest(f"top_p must be above 0 and at most 1, got {value}")
    return float(value)
