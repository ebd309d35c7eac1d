"""The model repository that a server gets: the shipped models, configured by its settings."""

from dataclasses import replace
from pathlib import Path

from cospec.config import DEFAULT_REPOSITORY, EngineSettings, ModelSettings, Settings
from cospec.repository import make_repository


def test_settings_decide_with_nothing_rendered_before(tmp_path: Path) -> None:
    settings = Settings(engine=EngineSettings(verifier=ModelSettings(num_slots=7)))
    make_repository(settings, DEFAULT_REPOSITORY, tmp_path)
    assert "max_batch_size: 7\n" in (tmp_path / "verifier" / "config.pbtxt").read_text()
    assert {path.name for path in tmp_path.iterdir()} == set(settings.known_models)


def test_every_verifier_is_the_shipped_one_under_another_name(tmp_path: Path) -> None:
    settings = replace(Settings(drafters=("code",)), verifiers=3)
    make_repository(settings, DEFAULT_REPOSITORY, tmp_path)
    assert settings.verifier_models == ("verifier", "verifier_2", "verifier_3")
    for model in settings.verifier_models:
        assert f'name: "{model}"' in (tmp_path / model / "config.pbtxt").read_text()
        assert (tmp_path / model / "1" / "model.py").samefile(DEFAULT_REPOSITORY / "verifier" / "1" / "model.py")


def test_models_that_are_not_here_are_left_out(tmp_path: Path) -> None:
    make_repository(Settings(drafters=("code", "elsewhere")), DEFAULT_REPOSITORY, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"verifier", "drafter_code", "orchestrator"}
