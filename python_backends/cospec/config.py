"""Settings: frozen dataclasses that mirror `cospec.yaml`, loaded strictly.

An unknown key, a missing file or a bad value is a `SettingsError`, one sentence naming path and allowed values.
"""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path

import yaml

from cospec.processor import best_dtype
from cospec.strict_yaml import SettingsError as SettingsError
from cospec.strict_yaml import absolute_path, addresses, between, build, one_of

SETTINGS_VARIABLE = "COSPEC_SETTINGS"
DEFAULT_SETTINGS = Path(__file__).resolve().parent.parent / "cospec.yaml"
DEFAULT_REPOSITORY = Path(__file__).resolve().parent.parent.parent / "model_repository"

DTYPES = ("auto", "float32", "bfloat16", "float16")
RESERVED = "lookup"
VERIFIER_MODEL = "verifier"  # of the first; others are numbered from 2
DEVICES = ("auto", "cpu", "cuda")
CONTROLLERS = ("adaptive", "adaspec", "smartspec", "schedule", "fixed", "off")

_SCHEDULE = {"low": 0, "high": 64}


@dataclass(frozen=True)
class ModelSettings:
    """One engine process. `weights` is relative to the model repository; empty: `<model name>/1/weights`."""

    weights: str = ""
    dtype: str = one_of(DTYPES, "auto")
    head_dtype: str = one_of(DTYPES, "float32")
    quantize: str = one_of(("none", "int8"), "none")
    num_slots: int = between(1, 4096, 64)
    max_length: int = between(16, 1_000_000, 1024)
    num_threads: int = between(1, 1024, 1)
    prefill_chunk: int = between(1, 65536, 256)

    def with_dtypes(self, best: str) -> "ModelSettings":
        """`best`: instead of auto; the head's auto is what the rest has."""
        dtype = best if self.dtype == "auto" else self.dtype
        head_dtype = dtype if self.head_dtype == "auto" else self.head_dtype
        return dataclasses.replace(self, dtype=dtype, head_dtype=head_dtype)


@dataclass(frozen=True)
class EngineSettings:
    device: str = one_of(DEVICES, "auto")
    compile: str = one_of(("auto", "never"), "auto")
    verifier: ModelSettings = field(default_factory=ModelSettings)
    drafter: ModelSettings = field(default_factory=ModelSettings)
    lease_seconds: float = between(1, 86400, 60.0)

    def of(self, model: str) -> ModelSettings:
        return self.verifier if model == VERIFIER_MODEL else self.drafter

    def on_this_machine(self) -> "EngineSettings":
        """With what is left to the machine decided."""
        best = best_dtype(self.device)
        return dataclasses.replace(
            self, verifier=self.verifier.with_dtypes(best), drafter=self.drafter.with_dtypes(best)
        )


@dataclass(frozen=True)
class SpeculationSettings:
    controller: str = one_of(CONTROLLERS, "adaptive")
    method: str = one_of(("routed", "tree", "lockstep", "vote"), "tree")
    num_draft_tokens: int = between(0, 64, 12)
    width: int = between(1, 16, 1)
    branching: int = between(1, 16, 3)
    num_nodes: int = between(1, 256, 32)
    max_drafters: int = between(1, 16, 2)
    lookup: bool = True
    routing: str = one_of(("switching", "ucb"), "switching")
    explore_below: float = between(0, 64, 2.0)
    num_explorers: int = between(0, 16, 2)
    exploration: float = between(0, 10, 0.3)
    draft_schedule: dict[int, int] = field(default_factory=lambda: {1: 8, 2: 6, 4: 4, 8: 2}, metadata=_SCHEDULE)
    max_draft_tokens: int = between(1, 64, 16)
    score_tokens: int = between(2, 4096, 32)
    draft_patience_seconds: float = between(0.001, 60, 1.0)


@dataclass(frozen=True)
class ServingSettings:
    max_requests: int = between(1, 100_000, 256)
    admission: str = one_of(("at_once", "wait"), "at_once")
    default_max_tokens: int = between(1, 1_000_000, 128)
    plain_tokens_per_call: int = between(1, 64, 4)
    max_group_size: int = between(1, 4096, 64)
    max_verify_tokens: int = between(1, 65536, 512)
    max_round_seconds: float = between(0.001, 600, 5.0)
    verify_token_weight: float = between(0, 1, 0.0)
    prefill_share: float = between(0.01, 0.99, 0.5)
    groups_in_flight: int = between(1, 256, 1)
    max_queue_delay_microseconds: int = between(0, 1_000_000, 0)
    bls_threads: int = between(1, 4096, 64)
    sending_share: float = between(0.01, 1, 0.06)
    verifier_retry_seconds: float = between(0, 600, 15.0)
    metrics: bool = True


@dataclass(frozen=True)
class SloSettings:
    """Milliseconds; 0: nothing is promised."""

    ttft_ms: float = between(0, 3_600_000, 0.0)
    tpot_ms: float = between(0, 60_000, 0.0)


@dataclass(frozen=True)
class TlsSettings:
    """Absolute paths of PEM files; empty: the system's authorities, and no certificate of our own."""

    root_certificates: str = absolute_path()
    certificate_chain: str = absolute_path()
    private_key: str = absolute_path()


@dataclass(frozen=True)
class RemoteDrafterSettings:
    """A drafter on other machines, each of which serves its model."""

    urls: tuple[str, ...] = addresses()
    tls: TlsSettings | None = None
    deadline_seconds: float = between(0.001, 60, 0.5)


@dataclass(frozen=True)
class TracingSettings:
    """`endpoint`: where an OpenTelemetry collector takes OTLP over HTTP; empty: nothing is traced."""

    endpoint: str = ""
    share: float = between(0, 1, 1.0)


@dataclass(frozen=True)
class Settings:
    drafters: tuple[str, ...] = ("chat", "code", "literature", "math", "medicine")
    verifiers: int = between(1, 64, 1)
    remote_drafters: dict[str, RemoteDrafterSettings] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    engine: EngineSettings = field(default_factory=EngineSettings)
    speculation: SpeculationSettings = field(default_factory=SpeculationSettings)
    serving: ServingSettings = field(default_factory=ServingSettings)
    slo_classes: dict[str, SloSettings] = field(default_factory=dict)
    tracing: TracingSettings = field(default_factory=TracingSettings)

    @property
    def known_models(self) -> tuple[str, ...]:
        """Every Triton model, wherever it runs, callees before the orchestrator."""
        return (*self.verifier_models, *map(drafter_model, self.drafters), "orchestrator")

    @property
    def verifier_models(self) -> tuple[str, ...]:
        return (VERIFIER_MODEL, *(f"{VERIFIER_MODEL}_{number}" for number in range(2, self.verifiers + 1)))

    @property
    def model_names(self) -> tuple[str, ...]:
        """Those that are served: `models`, or all but the remote drafters."""
        remote = set(map(drafter_model, self.remote_drafters))
        return self.models or tuple(model for model in self.known_models if model not in remote)

    def tls_files(self) -> list[Path]:
        """That calls to remote drafters need."""
        every = [astuple(remote.tls) for remote in self.remote_drafters.values() if remote.tls is not None]
        return [Path(name) for names in every for name in names if name]

    def weights(self, repository: Path) -> dict[str, Path]:
        """Model name -> directory of its checkpoint, for every drafter, wherever it runs, and for all verifiers one."""
        drafters = {model: repository / model / "1" / "weights" for model in map(drafter_model, self.drafters)}
        return {VERIFIER_MODEL: repository / (self.engine.verifier.weights or "verifier/1/weights"), **drafters}


def with_verifier(settings: Settings, weights: Path | None) -> Settings:
    """With this checkpoint as verifier, where one is given; it is relative to the working directory."""
    if weights is None:
        return settings
    verifier = dataclasses.replace(settings.engine.verifier, weights=str(weights.resolve()))
    return dataclasses.replace(settings, engine=dataclasses.replace(settings.engine, verifier=verifier))


def with_models(settings: Settings, models: Sequence[str]) -> Settings:
    """Serving these, where any are given; raises `SettingsError`."""
    chosen = dataclasses.replace(settings, models=tuple(models) or settings.models)
    _check_models(chosen)
    return chosen


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
        settings = build(Settings, document if document is not None else {}, "")
        _check_together(settings)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None
    return dataclasses.replace(settings, engine=settings.engine.on_this_machine())


def as_yaml(settings: Settings) -> str:
    """As `load_settings` reads it back."""
    return yaml.safe_dump(dataclasses.asdict(settings), sort_keys=False)


def write_settings(settings: Settings, path: Path) -> None:
    path.write_text(as_yaml(settings), encoding="utf-8")


def _check_together(settings: Settings) -> None:
    speculation = settings.speculation
    if RESERVED in settings.drafters:
        raise SettingsError(f"drafters must not hold {RESERVED!r}, which is the free expert's name")
    if settings.engine.verifier.quantize != "none":
        raise SettingsError("engine.verifier.quantize must be none: rounded weights would change the text")
    if settings.engine.drafter.weights:
        raise SettingsError("engine.drafter.weights must be empty: each drafter has its own, drafter_*/1/weights")
    if speculation.num_draft_tokens > speculation.max_draft_tokens:
        raise SettingsError(
            f"speculation.num_draft_tokens must be at most speculation.max_draft_tokens "
            f"({speculation.max_draft_tokens}), got {speculation.num_draft_tokens}"
        )
    if settings.tracing.endpoint and not settings.tracing.endpoint.startswith(("http://", "https://")):
        raise SettingsError(
            f"tracing.endpoint must be a URL such as http://collector:4318/v1/traces, got {settings.tracing.endpoint!r}"
        )
    for name, remote in settings.remote_drafters.items():
        _check_remote(settings, name, remote)
    _check_models(settings)


def _check_models(settings: Settings) -> None:
    for model in settings.models:
        if model not in settings.known_models:
            raise SettingsError(f"models must be some of {', '.join(settings.known_models)}, got {model!r}")


def _check_remote(settings: Settings, name: str, remote: RemoteDrafterSettings) -> None:
    path, patience = f"remote_drafters.{name}", settings.speculation.draft_patience_seconds
    if name not in settings.drafters:
        raise SettingsError(f"{path} must be one of drafters: {', '.join(settings.drafters)}")
    if not remote.urls:
        raise SettingsError(f"{path}.urls must name at least one host:port")
    if remote.deadline_seconds > patience:
        raise SettingsError(
            f"{path}.deadline_seconds must be at most speculation.draft_patience_seconds ({patience}), "
            f"got {remote.deadline_seconds}"
        )
    if remote.tls is not None and bool(remote.tls.certificate_chain) != bool(remote.tls.private_key):
        raise SettingsError(f"{path}.tls must have certificate_chain and private_key, or neither")
