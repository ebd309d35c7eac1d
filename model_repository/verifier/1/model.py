"""The verifier: checks the draft trees of many sequences in one forward pass. Triton's dynamic batcher joins calls."""

from pathlib import Path
from typing import Any

from cospec.config import load_settings
from cospec.engine.building import build_verifier
from cospec.triton_io.callee import verifier_callee


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        settings = load_settings()
        weights = settings.weights(Path(args["model_repository"]).parent)["verifier"]
        self._callee = verifier_callee(build_verifier(settings.engine, weights))

    def execute(self, requests: list[Any]) -> list[Any]:
        return self._callee.execute(requests)
