"""Settings are loaded strictly."""

from pathlib import Path

import pytest
from cospec.config import DEFAULT_SETTINGS, SettingsError, load_settings, with_verifier, write_settings


def load(tmp_path: Path, text: str):  # type: ignore[no-untyped-def]
    path = tmp_path / "cospec.yaml"
    path.write_text(text)
    return load_settings(path)


def test_the_shipped_settings_load() -> None:
    assert load_settings(DEFAULT_SETTINGS).drafters == ("chat", "code", "literature", "math", "medicine")


def test_what_is_not_set_has_a_default(tmp_path: Path) -> None:
    settings = load(tmp_path, "speculation: {num_draft_tokens: 2}")
    assert (settings.speculation.num_draft_tokens, settings.serving.max_group_size) == (2, 64)


@pytest.mark.parametrize(
    ("text", "mentioned"),
    [
        ("speculatoin: {}", "unknown key speculatoin; allowed: drafters, engine"),
        ("engine: {verifier: {dtype: int8}}", "engine.verifier.dtype must be one of float32, bfloat16, float16"),
        ("engine: {device: tpu}", "auto, cpu, cuda"),
        (
            "engine: {verifier: {num_slots: 0}}",
            "engine.verifier.num_slots must be a whole number from 1 to 4096, got 0",
        ),
        ("serving: {max_requests: true}", "serving.max_requests must be a whole number"),
        ("engine: {lease_seconds: soon}", "engine.lease_seconds must be a number"),
        ("drafters: [a, a]", "drafters must be a list of distinct names"),
        ("drafters: [a b]", "drafters must be a list"),
        ("engine: 3", "engine must be a mapping"),
        ("speculation: {num_draft_tokens: 17}", "at most speculation.max_draft_tokens"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_bad_setting_is_named_with_what_is_allowed(tmp_path: Path, text: str, mentioned: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load(tmp_path, text)
    assert mentioned in str(refusal.value)
    assert str(tmp_path / "cospec.yaml") in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.yaml"):
        load_settings(tmp_path / "nowhere.yaml")


def test_settings_are_read_back_as_written(tmp_path: Path) -> None:
    settings = load_settings(DEFAULT_SETTINGS)
    write_settings(settings, tmp_path / "cospec.yaml")
    assert load_settings(tmp_path / "cospec.yaml") == settings


def test_another_verifier_is_found_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(DEFAULT_SETTINGS)
    assert with_verifier(settings, None) == settings
    for weights in (Path("v"), tmp_path / "v"):
        changed = with_verifier(settings, weights)
        assert changed.weights(Path("repository"))["verifier"] == tmp_path / "v"
