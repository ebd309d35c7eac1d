"""A drafter: guesses the next tokens of many sequences in one call. The model's name says whose weights it loads."""

from pathlib import Path
from typing import Any

from cospec.config import load_settings
from cospec.engine.building import build_drafter
from cospec.engine.same_vocabulary import require_same_vocabulary
from cospec.metrics.engine_metrics import watch_cache
from cospec.metrics.recorder import Recorder
from cospec.triton_io.callee import drafter_callee
from cospec.triton_io.publishing import Publisher


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        repository, settings, recorder = Path(args["model_repository"]), load_settings(), Recorder()
        weights = repository / args["model_version"] / "weights"
        verifier = settings.weights(repository.parent)["verifier"]
        if verifier.is_dir():  # a server of drafters alone may not have it
            require_same_vocabulary(weights, verifier)
        engine = build_drafter(settings.engine, weights)
        watch_cache(recorder, args["model_name"], engine.sessions, settings.engine.drafter)
        self._callee = drafter_callee(engine)
        self._publisher = Publisher(recorder, args["model_name"], settings.serving.metrics)

    def execute(self, requests: list[Any]) -> list[Any]:
        return self._callee.execute(requests)

    def finalize(self) -> None:
        self._publisher.close()
