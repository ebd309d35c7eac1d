"""Programs of others that read the files of `deploy/`."""

import subprocess
from pathlib import Path
from typing import Any

from deploy.manifests import KUBERNETES, documents


def run(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def render(overlay: str | Path) -> list[dict[str, Any]]:
    """As `kubectl apply -k` would send it."""
    return documents(run("kubectl", "kustomize", str(KUBERNETES / "overlays" / overlay)))
