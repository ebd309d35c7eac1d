"""The image's entrypoint, as far as it goes without an image."""

import os
import subprocess
from pathlib import Path

from cospec.config import load_settings
from cospec.engine.artefacts import wanted_artefacts

from deploy.manifests import DEPLOY


def test_all_that_the_image_holds_compiled_is_in_the_cache_when_the_server_starts(tmp_path: Path) -> None:
    image, cache = tmp_path / "image", tmp_path / "cache"
    image.mkdir()
    cache.mkdir()
    names = {artefact.path.name for artefact in wanted_artefacts(load_settings(), Path("model_repository").resolve())}
    for name in names:
        (image / name).touch()
    script = (DEPLOY / "entrypoint").read_text().replace("/opt/cospec/compiled", str(image))
    script = script.replace("exec cospec-server", "exec echo")
    told = subprocess.run(
        ["sh", "-c", script, "entrypoint", "settings", "--json"],
        env={**os.environ, "COSPEC_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert {Path(name).suffix for name in names} == {".so", ".pt2"}
    assert {path.name for path in cache.iterdir()} == names
    assert told.stdout.split() == ["settings", "--settings", "/opt/cospec/python_backends/cospec.yaml", "--json"]
