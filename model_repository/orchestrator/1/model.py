"""The orchestrator: the model that users call. Decoupled and asynchronous: one instance carries every request."""

import asyncio
from pathlib import Path
from typing import Any

from cospec.config import load_settings
from cospec.engine.profiles import profile_store
from cospec.engine.routing_prior import load_routing_prior
from cospec.engine.vocabulary import load_vocabulary
from cospec.garbage import spare_what_is_loaded
from cospec.triton_io.orchestrator import Orchestrator


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        settings = load_settings()
        repository = Path(args["model_repository"]).parent
        vocabulary = load_vocabulary(settings.weights(repository)["verifier"])
        prior, profiles = load_routing_prior(settings, repository), profile_store(settings, repository)
        self._orchestrator = Orchestrator(settings, vocabulary, prior, profiles)
        spare_what_is_loaded()

    async def execute(self, requests: list[Any]) -> None:
        await asyncio.gather(*(self._orchestrator.serve(request) for request in requests))

    def finalize(self) -> None:
        self._orchestrator.close()
