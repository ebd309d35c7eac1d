"""Settings are loaded strictly."""

from pathlib import Path

import pytest
from cospec import processor
from cospec.config import DEFAULT_SETTINGS, SettingsError, load_settings, with_models, with_verifier, write_settings


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
        ("speculatoin: {}", "unknown key speculatoin; allowed: drafters, verifiers, remote_drafters"),
        ("engine: {verifier: {dtype: int8}}", "engine.verifier.dtype must be one of auto, float32, bfloat16, float16"),
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
        ("remote_drafters: [math]", "remote_drafters must be a mapping from names, got ['math']"),
        ("remote_drafters: {poetry: {urls: ['a:1']}}", "remote_drafters.poetry must be one of drafters: chat, code"),
        ("remote_drafters: {math: {}}", "remote_drafters.math.urls must name at least one host:port"),
        ("remote_drafters: {math: {urls: []}}", "remote_drafters.math.urls must be a list of distinct host:port"),
        ("remote_drafters: {math: {urls: ['http://a:1']}}", "urls must be a list of distinct host:port"),
        ("remote_drafters: {math: {urls: ['a:1', 'a:1']}}", "urls must be a list of distinct host:port"),
        ("remote_drafters: {math: {urls: ['a']}}", "urls must be a list of distinct host:port"),
        ("remote_drafters: {math: {urls: ['a:1'], retry: 3}}", "unknown key remote_drafters.math.retry"),
        (
            "remote_drafters: {math: {urls: ['a:1'], deadline_seconds: 2}}",
            "deadline_seconds must be at most speculation.draft_patience_seconds (1.0), got 2.0",
        ),
        (
            "remote_drafters: {math: {urls: ['a:1'], tls: {root_certificates: ca.pem}}}",
            "remote_drafters.math.tls.root_certificates must be an absolute path, got 'ca.pem'",
        ),
        (
            "remote_drafters: {math: {urls: ['a:1'], tls: {private_key: /a.key}}}",
            "remote_drafters.math.tls must have certificate_chain and private_key, or neither",
        ),
        ("models: [drafter_poetry]", "models must be some of verifier, drafter_chat"),
        ("engine: {drafter: {weights: elsewhere}}", "engine.drafter.weights must be empty"),
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


@pytest.mark.parametrize(
    ("line", "device", "best"),
    [
        ("flags : avx2 fma", "cpu", "float32"),
        ("flags : avx512f avx512_bf16", "cpu", "bfloat16"),
        ("Features : asimd bf16", "cpu", "bfloat16"),
        ("", "cpu", "float32"),
        ("flags : avx2", "cuda", "bfloat16"),
    ],
)
def test_auto_is_bfloat16_where_the_machine_multiplies_it(
    line: str, device: str, best: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "instruction_sets", lambda: line)
    engine = load(tmp_path, f"engine: {{device: {device}, drafter: {{head_dtype: auto, dtype: float16}}}}").engine
    assert (engine.verifier.dtype, engine.verifier.head_dtype) == (best, "float32")
    assert (engine.drafter.dtype, engine.drafter.head_dtype) == ("float16", "float16")


REMOTE = """
drafters: [math, code]
remote_drafters:
  math: {urls: ["10.0.0.7:8001", "[::1]:8001"], tls: {root_certificates: /etc/ca.pem}}
"""


def test_a_remote_drafter_is_not_served_here(tmp_path: Path) -> None:
    settings = load(tmp_path, REMOTE)
    assert settings.model_names == ("verifier", "drafter_code", "orchestrator")
    assert settings.remote_drafters["math"].urls == ("10.0.0.7:8001", "[::1]:8001")
    assert settings.tls_files() == [Path("/etc/ca.pem")]
    write_settings(settings, tmp_path / "again.yaml")
    assert load_settings(tmp_path / "again.yaml") == settings


def test_models_that_are_named_are_served_alone(tmp_path: Path) -> None:
    settings = load(tmp_path, REMOTE)
    assert with_models(settings, ["drafter_math"]).model_names == ("drafter_math",)
    assert with_models(settings, []) == settings
    with pytest.raises(SettingsError, match=r"models must be some of .*, got 'drafter_chess'"):
        with_models(settings, ["drafter_chess"])


def test_another_verifier_is_found_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(DEFAULT_SETTINGS)
    assert with_verifier(settings, None) == settings
    for weights in (Path("v"), tmp_path / "v"):
        changed = with_verifier(settings, weights)
        assert changed.weights(Path("repository"))["verifier"] == tmp_path / "v"
