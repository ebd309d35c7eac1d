"""`slo.yaml`: what each class of requests is promised, and the gate that a run must pass. Strict: no key is guessed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from loadtests.bad_input import BadInput

DEFAULT_OBJECTIVES = Path(__file__).parent / "slo.yaml"
FIGURES = (
    "attainment",
    "goodput_rps",
    "throughput_tps",
    "failed_share",
    "rejected_share",
    "acceptance_length",
    *(f"{name}_p{share}_ms" for name in ("ttft", "tpot", "e2e", "icl") for share in (50, 95, 99)),
)
RUN_FIGURES = ("offered_rps", "schedule_lag_p99_ms")  # of a whole run, never of one class
LIMITS = ("ttft_ms", "tpot_ms", "e2e_ms")


@dataclass(frozen=True)
class Objective:
    """What a class is promised, in milliseconds; None: nothing. `share`: of a mixed run's requests."""

    name: str
    share: float
    max_tokens: int
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    e2e_ms: float | None = None

    def allows(self, ttft: float, tpot: float, latency: float) -> bool:
        """Whether these times, in seconds, keep every promise."""
        measured = zip((self.ttft_ms, self.tpot_ms, self.e2e_ms), (ttft, tpot, latency), strict=True)
        return all(limit is None or seconds * 1e3 <= limit for limit, seconds in measured)

    def scaled(self, factor: float) -> "Objective":
        limits = {name: getattr(self, name) for name in LIMITS}
        return replace(self, **{name: limit * factor for name, limit in limits.items() if limit is not None})


@dataclass(frozen=True)
class Rule:
    """A bound on one figure."""

    figure: str
    low: float | None = None
    high: float | None = None

    def holds(self, value: float | None) -> bool:
        """False for what was not measured: silence is no proof."""
        if value is None:
            return False
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        low = [f">= {self.low:g}"] if self.low is not None else []
        return " and ".join(low + ([f"<= {self.high:g}"] if self.high is not None else []))


@dataclass(frozen=True)
class Objectives:
    classes: tuple[Objective, ...]
    gate: tuple[Rule, ...]

    def of(self, name: str) -> Objective:
        return next(objective for objective in self.classes if objective.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(objective.name for objective in self.classes)

    def scaled(self, factor: float) -> "Objectives":
        """All promised times multiplied; the gate stays."""
        return replace(self, classes=tuple(objective.scaled(factor) for objective in self.classes))


def load_objectives(path: Path = DEFAULT_OBJECTIVES) -> Objectives:
    """Raises `BadInput`, naming file and key."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: objectives cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise BadInput(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    try:
        return _objectives(document)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def figure_names(classes: tuple[str, ...]) -> tuple[str, ...]:
    """Everything that a gate may bound."""
    return (*FIGURES, *RUN_FIGURES, *(f"{name}.{figure}" for name in classes for figure in FIGURES))


def _objectives(document: Any) -> Objectives:
    sections = _mapping(document, "the document", ("classes", "gate"))
    named = _mapping(sections.get("classes"), "classes")
    if not named:
        raise BadInput("classes must name at least one class")
    classes = tuple(_objective(name, values) for name, values in named.items())
    if not sum(objective.share for objective in classes):
        raise BadInput("classes must have a share above 0 together")
    known = figure_names(tuple(objective.name for objective in classes))
    gate = tuple(_rule(*item, known) for item in _mapping(sections.get("gate", {}), "gate").items())
    if not gate:
        raise BadInput("gate must bound at least one metric, such as attainment: {min: 0.99}")
    return Objectives(classes, gate)


def _objective(name: str, values: Any) -> Objective:
    path = f"classes.{name}"
    fields = _mapping(values, path, ("share", "max_tokens", *LIMITS))
    if "max_tokens" not in fields:
        raise BadInput(f"{path}.max_tokens is missing; it must be a whole number from 1")
    tokens = fields["max_tokens"]
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 1:
        raise BadInput(f"{path}.max_tokens must be a whole number from 1, got {tokens!r}")
    limits = {limit: _number(f"{path}.{limit}", fields[limit]) for limit in LIMITS if limit in fields}
    return Objective(name, _number(f"{path}.share", fields.get("share", 1)), tokens, **limits)


def _rule(figure: str, bounds: Any, known: tuple[str, ...]) -> Rule:
    if figure not in known:
        raise BadInput(f"gate names the unknown metric {figure!r}; metrics: {', '.join(known)}")
    values = _mapping(bounds, f"gate.{figure}", ("min", "max"))
    if not values:
        raise BadInput(f"gate.{figure} must have min or max")
    checked = {bound: _number(f"gate.{figure}.{bound}", value) for bound, value in values.items()}
    return Rule(figure, checked.get("min"), checked.get("max"))


def _mapping(value: Any, path: str, allowed: tuple[str, ...] | None = None) -> Mapping[str, Any]:
    if value is None and allowed is None:
        return {}
    if not isinstance(value, dict):
        raise BadInput(f"{path} must be a mapping, got {value!r}")
    for key in value:
        if allowed is not None and key not in allowed:
            raise BadInput(f"{path} has the unknown key {key!r}; allowed: {', '.join(allowed)}")
    return value


def _number(path: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise BadInput(f"{path} must be a number of at least 0, got {value!r}")
    return float(value)
