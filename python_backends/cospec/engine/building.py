"""Engines from settings: what the Triton models and the training commands load."""

import time
from pathlib import Path

import torch

from cospec.config import EngineSettings, ModelSettings
from cospec.engine.artefacts import wants_artefacts
from cospec.engine.compiled import load_compiled
from cospec.engine.drafter import DrafterEngine
from cospec.engine.language_model import LanguageModel
from cospec.engine.sessions import SessionTable
from cospec.engine.verifier import VerifierEngine
from cospec.engine.weights import WeightsError, load_with


def build_model(engine: EngineSettings, settings: ModelSettings, weights: Path) -> LanguageModel:
    """Raises `WeightsError`."""
    loaded = load_with(settings, weights, choose_device(engine.device))
    if settings.max_length > loaded.architecture.max_positions:
        raise WeightsError(
            f"{weights}: max_length is {settings.max_length}, "
            f"but the model knows {loaded.architecture.max_positions} positions"
        )
    # `cospec-server compile` makes artefacts, and `serve` runs it first; without them the eager forward serves.
    step = load_compiled(weights, settings) if wants_artefacts(engine) else None
    return LanguageModel(loaded, settings.num_slots, settings.max_length, step)


def build_verifier(engine: EngineSettings, weights: Path) -> VerifierEngine:
    """Raises `WeightsError`."""
    model = build_model(engine, engine.verifier, weights)
    return VerifierEngine(model, _sessions(engine, engine.verifier), engine.verifier.prefill_chunk)


def build_drafter(engine: EngineSettings, weights: Path) -> DrafterEngine:
    """Raises `WeightsError`."""
    model = build_model(engine, engine.drafter, weights)
    return DrafterEngine(model, _sessions(engine, engine.drafter), engine.drafter.prefill_chunk)


def choose_device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def _sessions(engine: EngineSettings, settings: ModelSettings) -> SessionTable:
    return SessionTable(settings.num_slots, engine.lease_seconds, time.monotonic)
