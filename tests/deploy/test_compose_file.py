"""docker-compose.yml and Dockerfile by themselves; `make test-compose` runs them."""

import re
from typing import Any

import pytest
import yaml

from deploy.manifests import DEPLOY, ROOT

PROJECT = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
SERVICES: dict[str, dict[str, Any]] = PROJECT["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_publishes_nothing_but_on_an_address_that_was_chosen(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith(("127.0.0.1:", "${COSPEC_ADDRESS:-127.0.0.1}:")), port


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_limited_and_has_no_password(name: str) -> None:
    service = SERVICES[name]
    if name != "compile":  # which writes to the cache, and ends
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "mem_limit" in service
    assert not any("PASSWORD" in variable for variable in service.get("environment", {}))


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_mounts_and_builds_is_there(name: str) -> None:
    service = SERVICES[name]
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert (ROOT / source).exists() if source.startswith(".") else source in PROJECT["volumes"], volume
    if "build" in service:
        assert re.search(rf"^FROM \S+ AS {service['build']['target']}$", DOCKERFILE, re.MULTILINE)


def test_the_server_is_given_longer_to_stop_than_it_takes() -> None:
    drain, end = 60, 8  # `cospec-server serve --drain-seconds`, and until what is left is killed
    assert int(SERVICES["server"]["stop_grace_period"].removesuffix("s")) >= drain + end


def test_prometheus_asks_for_a_name_that_the_servers_have() -> None:
    [job] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    [names] = [config["names"] for config in job["dns_sd_configs"]]
    for server in ("server", "gpu"):
        assert names == SERVICES[server]["networks"]["default"]["aliases"]


def test_images_are_named_with_their_versions() -> None:
    images = {service["image"] for service in SERVICES.values()} | {"python:3.11-slim-bookworm"}
    assert all(":" in image and not image.endswith(":latest") for image in images)
    assert "ARG BASE=python:3.11-slim-bookworm\n" in DOCKERFILE
