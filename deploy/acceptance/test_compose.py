"""The project as its users run it, in the order of this file. The first failure ends the run."""

import json
import signal
import threading
import time
from functools import partial

import pytest
from cospec_client import Client, Generation

from deploy.acceptance.conftest import GRAFANA_IMAGE
from deploy.acceptance.project import (
    GRAFANA,
    GRPC,
    PROFILES,
    PROMETHEUS,
    ROOT,
    compose,
    container,
    docker,
    eventually,
    generate,
    get,
    has_image,
    inside,
    inspect,
    left,
    logs,
    query,
)

PROMPT = "What are the symptoms of Asthma ?"
STARTING_SECONDS = 60
BUILD_TOOLS = ("gcc", "g++", "cc", "make", "ld")

pytestmark = pytest.mark.timeout(1800)


def dashboard_expressions() -> list[str]:
    panels = json.loads((ROOT / "deploy/grafana/dashboards/cospec.json").read_text())["panels"]
    expressions = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    return [text.replace("$__rate_interval", "5m").replace("$instance", ".*") for text in expressions]


def test_first_text_comes_within_a_minute(seconds_to_first_text: float) -> None:
    print(f"first text after {seconds_to_first_text:.1f} s")
    assert seconds_to_first_text <= STARTING_SECONDS


@pytest.mark.usefixtures("seconds_to_first_text")
class TestRunning:
    def test_http_and_grpc_give_the_same_text(self) -> None:
        text = generate(text_input=PROMPT, max_tokens=48, temperature=0, exclude_input_in_output=True)
        with Client(GRPC, timeout=60) as client:
            assert client.generate(PROMPT, max_tokens=48, temperature=0).text == text
            streamed = "".join(chunk.text for chunk in client.stream(PROMPT, max_tokens=48, temperature=0))
        assert streamed == text and len(text) > 40

    def test_the_server_runs_as_a_user_who_can_change_nothing(self) -> None:
        assert inside("server", "id", "-u").strip() == "10001"
        for path in ("/opt/cospec/model_repository/x", "/opt/cospec/x", "/usr/x"):
            assert (
                inside("server", "sh", "-c", f"touch {path} 2>/dev/null && echo written || echo refused") == "refused\n"
            )

    def test_the_image_has_no_build_tools_and_serves_compiled(self) -> None:
        found = inside("server", "sh", "-c", f"for tool in {' '.join(BUILD_TOOLS)}; do command -v $tool; done; true")
        assert found == ""
        assert "uncompiled" not in logs("server")

    def test_nothing_is_published_but_the_servers_two_ports_and_the_console(self) -> None:
        published = {
            (service, binding["HostIp"], binding["HostPort"])
            for service in ("server", "prometheus")
            for bindings in inspect(service)["NetworkSettings"]["Ports"].values()
            for binding in bindings or []
        }
        here = "127.0.0.1"
        assert published == {("server", here, "8000"), ("server", here, "8001"), ("prometheus", here, "9090")}

    def test_docker_knows_when_the_server_is_healthy(self) -> None:
        assert eventually(lambda: inspect("server")["State"]["Health"]["Status"] == "healthy", 60)

    def test_prometheus_scrapes_the_server_and_has_the_alerts(self) -> None:
        assert eventually(lambda: query('up{job="cospec"} == 1'), 30)
        groups = get(f"{PROMETHEUS}/api/v1/rules")["data"]["groups"]
        assert len([rule for group in groups for rule in group["rules"]]) >= 10

    def test_a_load_test_of_one_master_and_two_workers_passes(self) -> None:
        compose("--profile", "loadtest", "up", "-d", "loadtest", "loadtest-worker")
        code = docker("wait", container("loadtest"), timeout=240).strip()
        log = logs("loadtest")
        print(log)
        assert code in ("0", "1"), log  # 1: the machine is slower than the objectives ask, which is no fault of ours
        assert query("sum(cospec:request_success_total) > 20")

    def test_every_panel_has_something_to_show(self) -> None:
        with Client(GRPC, timeout=60) as client:
            for _ in range(4):
                client.generate(PROMPT, max_tokens=64, speculation="tree:4+lookup", ignore_eos=True)
        time.sleep(11)  # two scrapes
        empty = [text for text in dashboard_expressions() if not query(text)]
        assert empty == []

    @pytest.mark.skipif(not has_image(GRAFANA_IMAGE), reason=f"{GRAFANA_IMAGE} is not on this machine")
    def test_grafana_shows_the_dashboard_to_whoever_comes(self) -> None:
        board = eventually(lambda: get(f"{GRAFANA}/api/dashboards/uid/cospec"), 60)
        assert board["dashboard"]["title"] == "CoSpec"

    def test_a_server_that_is_killed_comes_back_and_says_the_same(self) -> None:
        before = generate(text_input=PROMPT, max_tokens=32, temperature=0)
        restarts = inspect("server")["RestartCount"]
        # From a fork, after a moment: the container ends with its server, and a command in it would end with neither.
        kill = f"os.kill(psutil.Process(1).children()[0].pid, {signal.SIGKILL})"
        inside("server", "python", "-c", f"import os, psutil, time; os.fork() or (time.sleep(0.5), {kill})")
        eventually(lambda: inspect("server")["RestartCount"] > restarts, 30)
        eventually(lambda: generate(text_input="a", max_tokens=1), STARTING_SECONDS)
        assert generate(text_input=PROMPT, max_tokens=32, temperature=0) == before

    def test_stopping_the_server_cuts_no_stream(self) -> None:
        tokens: list[int] = []

        def read() -> None:
            with Client(GRPC, timeout=120) as client:
                for chunk in client.stream(PROMPT, max_tokens=900, temperature=1.0, seed=1, ignore_eos=True):
                    tokens.append(chunk.num_tokens)

        reader = threading.Thread(target=read)
        reader.start()
        eventually(lambda: len(tokens) > 3, 30)
        compose("stop", "server")
        reader.join(60)
        assert sum(tokens) == 900
        assert inspect("server")["State"]["ExitCode"] == 0

    def test_drafters_in_containers_of_their_own_draft_and_their_loss_changes_no_text(self) -> None:
        compose("up", "-d", "disaggregated")
        eventually(lambda: generate(text_input="a", max_tokens=1), 120)
        with Client(GRPC, timeout=60) as client:
            ask = partial(client.generate, PROMPT, max_tokens=48, temperature=0)
            expected = ask(speculation="off").text

            def drafted() -> Generation | None:
                answer = ask(speculation="fixed:medicine:4")
                return answer if answer.perf_metrics.num_draft_tokens else None

            assert eventually(drafted, STARTING_SECONDS).text == expected
            for machine in ("drafters-1", "drafters-2"):
                docker("kill", container(machine))
                assert ask(speculation="fixed:medicine:4").text == expected

    def test_down_leaves_nothing(self) -> None:
        compose(*PROFILES, "down", "--volumes", "--remove-orphans")
        assert left() == []
