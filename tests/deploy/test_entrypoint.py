"""The image's entrypoint, as far as it goes without an image."""

import os
import subprocess
from pathlib import Path

import yaml
from cospec.config import load_settings
from cospec.engine.artefacts import wanted_artefacts

from deploy.manifests import DEPLOY


def start(folder: Path) -> list[str]:
    """What the entrypoint tells `cospec-server`, where `folder` is what the image has under / and the cache."""
    script = (DEPLOY / "entrypoint").read_text().replace("exec cospec-server", "exec echo")
    for name in ("/tmp", "/opt/cospec/compiled", "/etc/cospec"):
        script = script.replace(name, f"{folder}{name}")
        Path(f"{folder}{name}").mkdir(parents=True, exist_ok=True)
    (folder / "cache").mkdir(exist_ok=True)
    told = subprocess.run(
        ["sh", "-c", script, "entrypoint", "settings", "--json"],
        env={**os.environ, "COSPEC_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=True,
    )
    return told.stdout.split()


def test_all_that_the_image_holds_compiled_is_in_the_cache_when_the_server_starts(tmp_path: Path) -> None:
    image = tmp_path / "opt" / "cospec" / "compiled"
    image.mkdir(parents=True)
    names = {artefact.path.name for artefact in wanted_artefacts(load_settings(), Path("model_repository").resolve())}
    for name in names:
        (image / name).write_text("of the image")
    told = start(tmp_path)
    kept = list((tmp_path / "cache").iterdir())
    assert {path.suffix for path in kept} == {".so", ".pt2"}
    assert {path.name for path in kept} == names
    assert told == ["settings", "--settings", "/opt/cospec/python_backends/cospec.yaml", "--json"]
    kept[0].write_text("of this machine")
    start(tmp_path)
    assert kept[0].read_text() == "of this machine"


def test_remote_drafters_come_on_top_of_settings_that_end_without_a_newline(tmp_path: Path) -> None:
    mounted = tmp_path / "etc" / "cospec"
    mounted.mkdir(parents=True)
    (mounted / "cospec.yaml").write_text("verifiers: 1")
    (mounted / "remote_drafters.yaml").write_text("remote_drafters: {}\n")
    told = start(tmp_path)
    assert yaml.safe_load(Path(told[2]).read_text()) == {"verifiers": 1, "remote_drafters": {}}


def test_an_image_without_compiled_forwards_starts_as_well(tmp_path: Path) -> None:
    assert start(tmp_path)[0] == "settings" and not list((tmp_path / "cache").iterdir())
