"""The models that Triton runs around an engine; a `1/model.py` only says which of them it is."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from cospec.config import Settings, load_settings
from cospec.engine.building import build_drafter, build_verifier, num_gpus
from cospec.engine.placement import gpu_of
from cospec.engine.same_vocabulary import require_same_vocabulary
from cospec.garbage import spare_what_is_loaded
from cospec.metrics.engine_metrics import CountedVerifier, watch_cache
from cospec.metrics.recorder import Recorder
from cospec.triton_io.callee import Callee, drafter_callee, verifier_callee
from cospec.triton_io.publishing import Publisher


class EngineModel(ABC):
    """What Triton calls, in this order: `initialize` once, `execute` for every batch, `finalize` once."""

    def initialize(self, args: dict[str, str]) -> None:
        """Raises what loading settings or weights raises: Triton then reports the model as not loaded."""
        settings, recorder = load_settings(), Recorder()
        self._callee = self._load(args, settings, recorder)
        self._publisher = Publisher(recorder, args["model_name"], settings.serving.metrics)
        spare_what_is_loaded()

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response per request, in order."""
        return self._callee.execute(requests)

    def finalize(self) -> None:
        self._publisher.close()

    @abstractmethod
    def _load(self, args: dict[str, str], settings: Settings, recorder: Recorder) -> Callee[Any, Any]: ...


class VerifierModel(EngineModel):
    """Checks the draft trees of many sequences in one forward pass."""

    def _load(self, args: dict[str, str], settings: Settings, recorder: Recorder) -> Callee[Any, Any]:
        weights = settings.weights(Path(args["model_repository"]).parent)["verifier"]
        engine = build_verifier(settings.engine, weights, _gpu(args, settings))
        watch_cache(recorder, args["model_name"], engine.sessions, settings.engine.verifier)
        counted = CountedVerifier(engine, recorder, settings.engine.verifier.num_slots)
        return verifier_callee(counted, engine.vocabulary_size)


class DrafterModel(EngineModel):
    """Guesses the next tokens of many sequences in one call."""

    def _load(self, args: dict[str, str], settings: Settings, recorder: Recorder) -> Callee[Any, Any]:
        repository = Path(args["model_repository"])
        weights = repository / args["model_version"] / "weights"
        verifier = settings.weights(repository.parent)["verifier"]
        if verifier.is_dir():  # a server of drafters alone may not have it
            require_same_vocabulary(weights, verifier)
        engine = build_drafter(settings.engine, weights, _gpu(args, settings))
        watch_cache(recorder, args["model_name"], engine.sessions, settings.engine.drafter)
        return drafter_callee(engine, engine.vocabulary_size)


def _gpu(args: dict[str, str], settings: Settings) -> int:
    return gpu_of(args["model_name"], settings, num_gpus())
