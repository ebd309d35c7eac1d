"""What the deployment files say, for tests to compare."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parent
ROOT = DEPLOY.parent
KUBERNETES = DEPLOY / "k8s"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
ALERT_TESTS = DEPLOY / "prometheus" / "alerts_test.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "cospec.json"
METRIC = re.compile(r"\b(?:cospec:|nv_)[a-z0-9_]+")


def documents(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document]


def only(resources: list[dict[str, Any]], kind: str, name: str = "server") -> dict[str, Any]:
    [found] = [item for item in resources if item["kind"] == kind and item["metadata"]["name"] == name]
    return found


def alert_rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def dashboard_expressions() -> Iterator[str]:
    """As Grafana sends them."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*")


def watched_metrics() -> set[str]:
    """Of alerts, dashboard and the autoscaler."""
    adapter = (KUBERNETES / "components" / "monitoring" / "prometheus-adapter-values.yaml").read_text()
    adapter = adapter.replace("num_requests_(running|waiting)", "num_requests_running cospec:num_requests_waiting")
    expressions = [*dashboard_expressions(), *(rule["expr"] for rule in alert_rules()), adapter]
    return {name for expression in expressions for name in METRIC.findall(expression)}
