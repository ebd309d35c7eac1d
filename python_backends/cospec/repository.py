"""The model repository of one server: the shipped models, configured by its settings.

So settings decide alone, with no file to render first, and the shipped repository may be read-only.
"""

from pathlib import Path

from cospec.config import VERIFIER_MODEL, Settings
from cospec.render import render_all

VERSION = "1"


def make_repository(settings: Settings, shipped: Path, target: Path) -> None:
    """In `target`, every model that `shipped` holds; all verifiers are the same model."""
    for model, text in render_all(settings).items():
        source = shipped / (VERIFIER_MODEL if model in settings.verifier_models else model) / VERSION
        if source.is_dir():
            (target / model).mkdir(parents=True)
            (target / model / "config.pbtxt").write_text(text, encoding="utf-8")
            (target / model / VERSION).symlink_to(source.resolve())
