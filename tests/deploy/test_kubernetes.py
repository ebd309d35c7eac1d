"""The manifests as they are written; `make test-deploy` reads them as `kubectl apply -k` would send them."""

import tempfile
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from cospec.config import DEFAULT_SETTINGS, Settings, load_settings

from deploy.manifests import ALERTS, DEPLOY, KUBERNETES, ROOT, documents, only

RENDERED = ("kustomization.yaml", "deployment.yaml")  # the labels of selectors come with rendering
PLAIN = sorted(path for path in (KUBERNETES / "base").glob("*.yaml") if path.name not in RENDERED)
PLAIN += sorted((KUBERNETES / "components").rglob("*scaler.yaml"))


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: path.name)
def test_a_plain_manifest_is_what_kubernetes_accepts(path: Path) -> None:
    """What a kustomization only completes must be valid before."""
    for item in documents(path.read_text()):
        kubernetes_validate.validate(item, "1.37", strict=True)


def test_every_remote_drafter_is_a_pod_of_the_stateful_set() -> None:
    overlay = KUBERNETES / "overlays" / "disaggregated"
    drafters = only(documents((overlay / "drafters.yaml").read_text()), "StatefulSet", "drafters")
    pods = {f"drafters-{number}.drafters:8001" for number in range(drafters["spec"]["replicas"])}
    settings = with_remote_drafters(overlay / "remote_drafters.yaml")
    assert all(set(remote.urls) == pods for remote in settings.remote_drafters.values())
    assert set(settings.remote_drafters) == set(settings.drafters)
    models = drafters["spec"]["template"]["spec"]["containers"][0]["args"][2:]
    assert models == [f"drafter_{name}" for name in settings.drafters]


def test_compose_has_the_machines_that_its_remote_drafters_name() -> None:
    settings = with_remote_drafters(DEPLOY / "disaggregated" / "remote_drafters.yaml")
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    urls = {url for remote in settings.remote_drafters.values() for url in remote.urls}
    assert urls == {f"{name}:8001" for name in services if name.startswith("drafters-")}


def with_remote_drafters(file: Path) -> Settings:
    """The shipped settings with these, as the image's entrypoint joins them."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as joined:
        joined.write(DEFAULT_SETTINGS.read_text() + file.read_text())
        joined.flush()
        return load_settings(Path(joined.name))


def test_the_operators_alerts_are_prometheus_own() -> None:
    rule = yaml.safe_load((KUBERNETES / "components" / "monitoring" / "prometheusrule.yaml").read_text())
    assert rule["spec"]["groups"] == yaml.safe_load(ALERTS.read_text())["groups"]
