"""The verifier: checks the draft trees of many sequences in one forward pass. Triton's dynamic batcher joins calls."""

from pathlib import Path
from typing import Any

from cospec.config import load_settings
from cospec.engine.building import build_verifier
from cospec.metrics.engine_metrics import CountedVerifier, watch_cache
from cospec.metrics.recorder import Recorder
from cospec.triton_io.callee import verifier_callee
from cospec.triton_io.publishing import Publisher


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        settings, recorder = load_settings(), Recorder()
        weights = settings.weights(Path(args["model_repository"]).parent)["verifier"]
        engine = build_verifier(settings.engine, weights)
        watch_cache(recorder, args["model_name"], engine.sessions, settings.engine.verifier)
        self._callee = verifier_callee(CountedVerifier(engine, recorder, settings.engine.verifier.num_slots))
        self._publisher = Publisher(recorder, args["model_name"], settings.serving.metrics)

    def execute(self, requests: list[Any]) -> list[Any]:
        return self._callee.execute(requests)

    def finalize(self) -> None:
        self._publisher.close()
