"""Where profiles are kept between starts: per machine, models and settings, beside the compiled forwards."""

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path

from cospec.config import RemoteDrafterSettings, Settings, drafter_model
from cospec.engine.artefacts import cache_directory, compiled_forwards, kernels, written_whole
from cospec.speculation.cost_model import CostModel, DraftWork, Learnt, VerifyWork
from cospec.speculation.profiling import Profile


class ProfileStore:
    """One file, and beside it what was learnt while serving. What cannot be read is as good as none: it is measured
    again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._learnt_path = path.with_suffix(".learnt.json")

    def load(self) -> Profile | None:
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
            return Profile(
                tuple((VerifyWork(**work), seconds) for work, seconds in document["verify"]),
                tuple((DraftWork(**work), seconds) for work, seconds in document["draft"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, profile: Profile) -> None:
        document = {
            "verify": [[asdict(work), seconds] for work, seconds in profile.verify],
            "draft": [[asdict(work), seconds] for work, seconds in profile.draft],
        }
        with written_whole(self.path) as unfinished:
            unfinished.write_text(json.dumps(document), encoding="utf-8")

    def load_learnt(self) -> Learnt | None:
        try:
            learnt: Learnt = json.loads(self._learnt_path.read_text(encoding="utf-8"))
            CostModel().take_over(learnt)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return learnt

    def save_learnt(self, learnt: Learnt) -> None:
        with written_whole(self._learnt_path) as unfinished:
            unfinished.write_text(json.dumps(learnt), encoding="utf-8")

    def clear(self) -> None:
        for path in (self.path, self._learnt_path):
            path.unlink(missing_ok=True)


def profile_store(settings: Settings, repository: Path) -> ProfileStore:
    """Named by all that costs depend on: processor, threads, models, settings of the engine."""
    digest = hashlib.sha256(
        f"{os.cpu_count()} {settings.verifiers} {settings.engine.device} {settings.engine.compile}".encode()
    )
    remote = {drafter_model(name): _hosts(each) for name, each in settings.remote_drafters.items()}
    digest.update(f"{remote}".encode())
    for model, weights in settings.weights(repository).items():
        if model in remote:  # its files may be elsewhere too
            continue
        needed = kernels(), *compiled_forwards(weights, settings.engine.of(model))
        digest.update(f"{model} {[artefact.path.name for artefact in needed]}".encode())
    return ProfileStore(cache_directory() / f"profile-{digest.hexdigest()[:24]}.json")


def _hosts(remote: RemoteDrafterSettings) -> list[str]:
    return sorted(url.rsplit(":", 1)[0] for url in remote.urls)
