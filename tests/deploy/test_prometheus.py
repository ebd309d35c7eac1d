"""Alerts and dashboard as they are written; `make test-deploy` has Prometheus' own tool read them."""

import yaml
from cospec.metrics.catalogue import CATALOGUE, PREFIX, Kind

from deploy.manifests import ALERT_TESTS, DEPLOY, alert_rules, watched_metrics


def test_every_alert_is_tried_where_it_should_fire_and_on_a_healthy_server() -> None:
    tests = yaml.safe_load(ALERT_TESTS.read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    alerts = {rule["alert"] for rule in alert_rules()}
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == alerts
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == alerts


def test_every_metric_of_ours_that_is_watched_is_published() -> None:
    names = {metric.full_name for metric in CATALOGUE}
    names |= {f"{metric.full_name}_bucket" for metric in CATALOGUE if metric.kind is Kind.HISTOGRAM}
    watched = {name for name in watched_metrics() if name.startswith(PREFIX)}
    assert len(watched) > 30
    assert watched - names == set()


def test_every_alert_is_explained() -> None:
    page = (DEPLOY / "README.md").read_text()
    assert [rule["alert"] for rule in alert_rules() if f"`{rule['alert']}`" not in page] == []
