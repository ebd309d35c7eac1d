"""Alerts, scraping and dashboard, as Prometheus' own tool reads them."""

from pathlib import Path

import yaml

from deploy.checks.programs import run
from deploy.manifests import ALERT_TESTS, DEPLOY, dashboard_expressions


def test_prometheus_accepts_its_configuration() -> None:
    run("promtool", "check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"))


def test_every_alert_fires_when_it_should_and_none_on_a_healthy_server() -> None:
    run("promtool", "test", "rules", str(ALERT_TESTS))


def test_every_panel_asks_what_prometheus_understands(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(dashboard_expressions())]
    assert len(rules) > 30
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    run("promtool", "check", "rules", str(file))
