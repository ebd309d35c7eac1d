"""What the deployment files say, for tests to compare."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "cospec.json"
METRIC = re.compile(r"\b(?:cospec:|nv_)[a-z0-9_]+")


def require(*names: str) -> str:
    """The first of these programs that is here. Elsewhere than in CI a machine may do without them."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None and os.environ.get("CI"):
        pytest.fail(f"CI needs one of: {', '.join(names)}")
    if found is None:
        pytest.skip(f"needs one of: {', '.join(names)}")
    return found


def run(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def documents(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document]


def alert_rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def dashboard_expressions() -> Iterator[str]:
    """As Grafana sends them."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*")


def watched_metrics() -> set[str]:
    """Of alerts, dashboard and the autoscaler."""
    adapter = (DEPLOY / "k8s" / "components" / "monitoring" / "prometheus-adapter-values.yaml").read_text()
    adapter = adapter.replace("num_requests_(running|waiting)", "num_requests_running cospec:num_requests_waiting")
    expressions = [*dashboard_expressions(), *(rule["expr"] for rule in alert_rules()), adapter]
    return {name for expression in expressions for name in METRIC.findall(expression)}
