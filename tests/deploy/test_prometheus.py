"""Alerts, scraping and dashboard, as Prometheus' own tools read them."""

from pathlib import Path

import yaml
from cospec.metrics.catalogue import CATALOGUE, PREFIX, Kind
from manifests import DEPLOY, alert_rules, dashboard_expressions, require, run, watched_metrics


def test_prometheus_accepts_its_configuration() -> None:
    run(require("promtool"), "check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"))


def test_every_alert_fires_when_it_should_and_none_on_a_healthy_server() -> None:
    tests = DEPLOY / "prometheus" / "alerts_test.yml"
    run(require("promtool"), "test", "rules", str(tests))
    cases = [case for test in yaml.safe_load(tests.read_text())["tests"] for case in test["alert_rule_test"]]
    alerts = {rule["alert"] for rule in alert_rules()}
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == alerts
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == alerts


def test_every_panel_asks_what_prometheus_understands(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(dashboard_expressions())]
    assert len(rules) > 30
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    run(require("promtool"), "check", "rules", str(file))


def test_every_metric_of_ours_that_is_watched_is_published() -> None:
    names = {metric.full_name for metric in CATALOGUE}
    names |= {f"{metric.full_name}_bucket" for metric in CATALOGUE if metric.kind is Kind.HISTOGRAM}
    watched = {name for name in watched_metrics() if name.startswith(PREFIX)}
    assert len(watched) > 30
    assert watched - names == set()


def test_every_alert_is_explained() -> None:
    page = (DEPLOY / "README.md").read_text()
    assert [rule["alert"] for rule in alert_rules() if f"`{rule['alert']}`" not in page] == []
