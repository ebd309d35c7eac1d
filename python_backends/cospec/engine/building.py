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
from cospec.engine.weights import Weights, WeightsError, require_checkpoint


def build_model(engine: EngineSettings, settings: ModelSettings, weights: Path, gpu: int = 0) -> LanguageModel:
    """`gpu`: which one, where it runs on any. This process gets its number of threads. Raises `WeightsError`."""
    require_checkpoint(weights)
    torch.set_num_threads(settings.num_threads)
    # `cospec-server compile` makes artefacts, and `serve` runs it first; without them the eager forward serves.
    compiled = load_compiled(weights, settings) if wants_artefacts(engine) else None
    model = compiled or _load(settings, weights, choose_device(engine.device, gpu))
    if settings.max_length > model.architecture.max_positions:
        raise WeightsError(
            f"{weights}: max_length is {settings.max_length}, "
            f"but the model knows {model.architecture.max_positions} positions"
        )
    return LanguageModel(model, settings.num_slots, settings.max_length)


def _load(settings: ModelSettings, weights: Path, device: torch.device) -> Weights:
    from cospec.engine.checkpoints import load_with  # only where it is needed: transformers takes seconds to import

    return load_with(settings, weights, device)


def build_verifier(engine: EngineSettings, weights: Path, gpu: int = 0) -> VerifierEngine:
    """Raises `WeightsError`."""
    model = build_model(engine, engine.verifier, weights, gpu)
    return VerifierEngine(model, _sessions(engine, engine.verifier), engine.verifier.prefill_chunk)


def build_drafter(engine: EngineSettings, weights: Path, gpu: int = 0) -> DrafterEngine:
    """Raises `WeightsError`."""
    model = build_model(engine, engine.drafter, weights, gpu)
    return DrafterEngine(model, _sessions(engine, engine.drafter), engine.drafter.prefill_chunk)


def num_gpus() -> int:
    """At least 1: what does not run on one may say the first."""
    return max(1, torch.cuda.device_count())


def choose_device(name: str, gpu: int) -> torch.device:
    on_gpu = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    return torch.device("cuda", gpu) if on_gpu else torch.device("cpu")


def _sessions(engine: EngineSettings, settings: ModelSettings) -> SessionTable:
    return SessionTable(settings.num_slots, engine.lease_seconds, time.monotonic)
