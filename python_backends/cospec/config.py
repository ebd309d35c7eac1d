"""Settings: frozen dataclasses that mirror `cospec.yaml`, loaded strictly.

An unknown key, a missing file or a bad value is a `SettingsError`, one sentence naming path and allowed values.
"""

import dataclasses
import os
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

SETTINGS_VARIABLE = "COSPEC_SETTINGS"
DEFAULT_SETTINGS = Path(__file__).resolve().parent.parent / "cospec.yaml"
DEFAULT_REPOSITORY = Path(__file__).resolve().parent.parent.parent / "model_repository"

DTYPES = ("float32", "bfloat16", "float16")
RESERVED = "lookup"
DEVICES = ("auto", "cpu", "cuda")
CONTROLLERS = ("adaptive", "adaspec", "smartspec", "schedule", "fixed", "off")

T = TypeVar("T")


class SettingsError(ValueError):
    """Settings that cannot be used; the message names the key and the allowed values."""


def _between(low: float, high: float, default: Any) -> Any:
    return field(default=default, metadata={"low": low, "high": high})


def _one_of(choices: tuple[str, ...], default: str) -> Any:
    return field(default=default, metadata={"choices": choices})


_SCHEDULE = {"low": 0, "high": 64}


@dataclass(frozen=True)
class ModelSettings:
    """One engine process. `weights` is relative to the model repository; empty: `<model name>/1/weights`."""

    weights: str = ""
    dtype: str = _one_of(DTYPES, "bfloat16")
    head_dtype: str = _one_of(DTYPES, "float32")
    quantize: str = _one_of(("none", "int8"), "none")
    num_slots: int = _between(1, 4096, 64)
    max_length: int = _between(16, 1_000_000, 1024)
    num_threads: int = _between(1, 1024, 1)
    prefill_chunk: int = _between(1, 65536, 256)


@dataclass(frozen=True)
class EngineSettings:
    device: str = _one_of(DEVICES, "auto")
    compile: str = _one_of(("auto", "never"), "auto")
    verifier: ModelSettings = field(default_factory=ModelSettings)
    drafter: ModelSettings = field(default_factory=ModelSettings)
    lease_seconds: float = _between(1, 86400, 60.0)


@dataclass(frozen=True)
class SpeculationSettings:
    controller: str = _one_of(CONTROLLERS, "adaptive")
    method: str = _one_of(("routed", "tree", "lockstep", "vote"), "tree")
    num_draft_tokens: int = _between(0, 64, 12)
    width: int = _between(1, 16, 1)
    branching: int = _between(1, 16, 3)
    num_nodes: int = _between(1, 256, 32)
    max_drafters: int = _between(1, 16, 2)
    lookup: bool = True
    routing: str = _one_of(("switching", "ucb"), "switching")
    explore_below: float = _between(0, 64, 2.0)
    num_explorers: int = _between(0, 16, 2)
    exploration: float = _between(0, 10, 0.3)
    draft_schedule: dict[int, int] = field(default_factory=lambda: {1: 8, 2: 6, 4: 4, 8: 2}, metadata=_SCHEDULE)
    max_draft_tokens: int = _between(1, 64, 16)
    score_tokens: int = _between(2, 4096, 32)
    draft_patience_seconds: float = _between(0.001, 60, 1.0)


@dataclass(frozen=True)
class ServingSettings:
    max_requests: int = _between(1, 100_000, 256)
    default_max_tokens: int = _between(1, 1_000_000, 128)
    plain_tokens_per_call: int = _between(1, 64, 4)
    max_group_size: int = _between(1, 4096, 64)
    max_verify_tokens: int = _between(1, 65536, 512)
    max_round_seconds: float = _between(0.001, 600, 5.0)
    verify_token_weight: float = _between(0, 1, 0.0)
    prefill_share: float = _between(0.01, 0.99, 0.5)
    groups_in_flight: int = _between(1, 256, 1)
    max_queue_delay_microseconds: int = _between(0, 1_000_000, 0)
    bls_threads: int = _between(1, 4096, 64)
    verifier_retry_seconds: float = _between(0, 600, 15.0)
    metrics: bool = True


@dataclass(frozen=True)
class SloSettings:
    """Milliseconds; 0: nothing is promised."""

    ttft_ms: float = _between(0, 3_600_000, 0.0)
    tpot_ms: float = _between(0, 60_000, 0.0)


@dataclass(frozen=True)
class Settings:
    drafters: tuple[str, ...] = ("chat", "code", "literature", "math", "medicine")
    engine: EngineSettings = field(default_factory=EngineSettings)
    speculation: SpeculationSettings = field(default_factory=SpeculationSettings)
    serving: ServingSettings = field(default_factory=ServingSettings)
    slo_classes: dict[str, SloSettings] = field(default_factory=dict)

    @property
    def model_names(self) -> tuple[str, ...]:
        """Every Triton model, callees before the orchestrator."""
        return ("verifier", *(drafter_model(name) for name in self.drafters), "orchestrator")

    def weights(self, repository: Path) -> dict[str, Path]:
        """Model name -> directory of its checkpoint, for the verifier and every drafter."""
        drafters = {model: repository / model / "1" / "weights" for model in map(drafter_model, self.drafters)}
        return {"verifier": repository / (self.engine.verifier.weights or "verifier/1/weights"), **drafters}


def with_verifier(settings: Settings, weights: Path | None) -> Settings:
    """With this checkpoint as verifier, where one is given; it is relative to the working directory."""
    if weights is None:
        return settings
    verifier = dataclasses.replace(settings.engine.verifier, weights=str(weights.resolve()))
    return dataclasses.replace(settings, engine=dataclasses.replace(settings.engine, verifier=verifier))


def drafter_model(drafter: str) -> str:
    return f"drafter_{drafter}"


def settings_path() -> Path:
    """The file named by COSPEC_SETTINGS, else the one beside the package."""
    return Path(os.environ.get(SETTINGS_VARIABLE, DEFAULT_SETTINGS))


def load_settings(path: Path | None = None) -> Settings:
    """Read `path`, or `settings_path()`; raises `SettingsError`."""
    path = path or settings_path()
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: settings cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    try:
        settings = _build(Settings, document if document is not None else {}, "")
        _check_together(settings)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None
    return settings


def write_settings(settings: Settings, path: Path) -> None:
    """As a file that `load_settings` reads back."""
    path.write_text(yaml.safe_dump(dataclasses.asdict(settings), sort_keys=False), encoding="utf-8")


def _build(cls: type[T], document: Any, path: str) -> T:
    if not isinstance(document, dict):
        raise SettingsError(f"{path or 'the document'} must be a mapping, got {document!r}")
    hints = typing.get_type_hints(cls)
    fields = {item.name: item for item in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in document:
        if key not in fields:
            raise SettingsError(f"unknown key {_join(path, key)}; allowed: {', '.join(fields)}")
    return cls(**{key: _value(hints[key], fields[key], value, _join(path, key)) for key, value in document.items()})


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _value(kind: Any, item: "dataclasses.Field[Any]", value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build(typing.cast(type, kind), value, path)
    if typing.get_origin(kind) is dict:
        return _mapping(kind, item, value, path)
    if typing.get_origin(kind) is tuple:
        return _names(value, path)
    if kind is str:
        return _text(item.metadata, value, path)
    if kind is bool:
        return _truth(value, path)
    return _number(kind, item.metadata, value, path)


def _mapping(kind: Any, item: "dataclasses.Field[Any]", value: Any, path: str) -> dict[Any, Any]:
    keys, values = typing.get_args(kind)
    if not isinstance(value, dict) or not all(type(key) is keys for key in value):
        raise SettingsError(
            f"{path} must be a mapping from {'names' if keys is str else 'whole numbers'}, got {value!r}"
        )
    return {key: _value(values, item, each, _join(path, key)) for key, each in value.items()}


def _names(value: Any, path: str) -> tuple[str, ...]:
    valid = isinstance(value, list) and all(isinstance(name, str) and name.isidentifier() for name in value)
    if not valid or len(set(value)) != len(value):
        raise SettingsError(f"{path} must be a list of distinct names, got {value!r}")
    return tuple(value)


def _text(limits: "types.MappingProxyType[Any, Any]", value: Any, path: str) -> str:
    choices = limits.get("choices")
    if not isinstance(value, str) or (choices and value not in choices):
        allowed = f"one of {', '.join(choices)}" if choices else "text"
        raise SettingsError(f"{path} must be {allowed}, got {value!r}")
    return value


def _truth(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise SettingsError(f"{path} must be true or false, got {value!r}")
    return value


def _number(kind: type, limits: "types.MappingProxyType[Any, Any]", value: Any, path: str) -> Any:
    low, high = limits["low"], limits["high"]
    expected: type | tuple[type, ...] = int if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, expected) or not low <= value <= high:
        noun = "a whole number" if kind is int else "a number"
        raise SettingsError(f"{path} must be {noun} from {low} to {high}, got {value!r}")
    return kind(value)


def _check_together(settings: Settings) -> None:
    speculation = settings.speculation
    if RESERVED in settings.drafters:
        raise SettingsError(f"drafters must not hold {RESERVED!r}, which is the free expert's name")
    if settings.engine.verifier.quantize != "none":
        raise SettingsError("engine.verifier.quantize must be none: rounded weights would change the text")
    if speculation.num_draft_tokens > speculation.max_draft_tokens:
        raise SettingsError(
            f"speculation.num_draft_tokens must be at most speculation.max_draft_tokens "
            f"({speculation.max_draft_tokens}), got {speculation.num_draft_tokens}"
        )
