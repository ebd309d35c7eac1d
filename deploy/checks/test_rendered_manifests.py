"""The manifests as `kubectl apply -k` would send them."""

import shutil
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from cospec.config import DEFAULT_SETTINGS

from deploy.checks.programs import render
from deploy.manifests import DEPLOY, KUBERNETES, only

OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
ENTRYPOINT = (DEPLOY / "entrypoint").read_text()
NO_SCHEMA = {"PodMonitor", "PrometheusRule"}  # of the Prometheus operator, not of Kubernetes


def pod(resources: list[dict[str, Any]]) -> dict[str, Any]:
    return dict(only(resources, "Deployment")["spec"]["template"]["spec"])


@pytest.mark.parametrize("version", ["1.30", "1.37"])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_rendered_overlay_is_what_kubernetes_accepts(overlay: str, version: str) -> None:
    checked = [item for item in render(overlay) if item["kind"] not in NO_SCHEMA]
    assert len(checked) >= 8
    for item in checked:
        kubernetes_validate.validate(item, version, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_ports_and_volumes_meet(overlay: str) -> None:
    resources = render(overlay)
    templates = [item["spec"]["template"] for item in resources if item["kind"] in ("Deployment", "StatefulSet")]
    for item in resources:
        if (selector := selector_of(item)) is not None:
            [chosen] = [
                template for template in templates if selector.items() <= template["metadata"]["labels"].items()
            ]
            ports = {port["name"] for port in chosen["spec"]["containers"][0]["ports"]}
            assert ports_of(item) <= ports
    for template in templates:
        volumes = {volume["name"] for volume in template["spec"]["volumes"]}
        containers = template["spec"]["containers"] + template["spec"].get("initContainers", [])
        assert {mount["name"] for container in containers for mount in container["volumeMounts"]} <= volumes
    assert only(resources, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == "server"


def selector_of(resource: dict[str, Any]) -> dict[str, str] | None:
    spec = resource.get("spec", {})
    if resource["kind"] == "NetworkPolicy":
        return dict(spec["podSelector"]["matchLabels"])
    selector = spec.get("selector")
    return dict(selector.get("matchLabels", selector)) if selector else None


def ports_of(resource: dict[str, Any]) -> set[str]:
    """Names that a Service or a PodMonitor has for ports of its pods."""
    spec = resource["spec"]
    return {port["targetPort"] for port in spec.get("ports", [])} | {
        endpoint["port"] for endpoint in spec.get("podMetricsEndpoints", [])
    }


def test_settings_of_your_own_reach_the_server_and_roll_its_pods(tmp_path: Path) -> None:
    copy = shutil.copytree(KUBERNETES, tmp_path / "k8s")
    overlay = copy / "overlays" / "cpu" / "kustomization.yaml"
    overlay.write_text(overlay.read_text().replace("# - ../../components/settings", "- ../../components/settings"))
    own = copy / "components" / "settings" / "cospec.yaml"
    names = set()
    for text in (DEFAULT_SETTINGS.read_text(), DEFAULT_SETTINGS.read_text() + "# changed\n"):
        own.write_text(text)
        resources = render(overlay.parent)
        [volume] = [volume for volume in pod(resources)["volumes"] if volume["name"] == "settings"]
        assert only(resources, "ConfigMap", volume["configMap"]["name"])["data"] == {"cospec.yaml": text}
        names.add(volume["configMap"]["name"])
        for container in pod(resources)["containers"] + pod(resources)["initContainers"]:
            mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
            assert f"{mounts['settings']}/cospec.yaml" in ENTRYPOINT
    assert len(names) == 2


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_has_time_to_drain(overlay: str) -> None:
    spec = pod(render(overlay))
    [server] = spec["containers"]
    pause = int(server["lifecycle"]["preStop"]["exec"]["command"][1])
    drain, end = 60, 8  # `cospec-server serve --drain-seconds`, and until what is left is killed
    assert spec["terminationGracePeriodSeconds"] >= pause + drain + end
