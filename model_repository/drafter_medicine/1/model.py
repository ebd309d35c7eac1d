"""A drafter: guesses the next tokens of many sequences in one call. The model's name says whose weights it loads."""

from pathlib import Path
from typing import Any

from cospec.config import load_settings
from cospec.engine.building import build_drafter
from cospec.engine.same_vocabulary import require_same_vocabulary
from cospec.triton_io.callee import drafter_callee


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        repository, settings = Path(args["model_repository"]), load_settings()
        weights = repository / args["model_version"] / "weights"
        require_same_vocabulary(weights, settings.weights(repository.parent)["verifier"])
        self._callee = drafter_callee(build_drafter(settings.engine, weights))

    def execute(self, requests: list[Any]) -> list[Any]:
        return self._callee.execute(requests)
