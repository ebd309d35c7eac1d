"""Short load tests against the real server: the generator in its own process, as users run it."""

import json
from pathlib import Path
from typing import Any

import pytest
from cospec.serve import TritonServer

from loadtests.generator.plan import HTTP_STREAM, Plan
from loadtests.generator.planned_requests import plan_requests
from loadtests.server_process import Addresses
from loadtests.slo.cli import main
from loadtests.slo.generate import generate

LOOSE = """classes: {any: {max_tokens: 6, e2e_ms: 30000}}
gate: {attainment: {min: 1}, failed_share: {max: 0}}
"""

WORKERS_SET_UP_LATE = """import gevent
from locust import events


@events.init.add_listener
def dawdle(runner, **_):
    gevent.sleep(3 if hasattr(runner, "worker_state") else 0)


from loadtests.locustfile import *
"""


@pytest.fixture
def loose_objectives(tmp_path: Path) -> str:
    """Limits that only a failure misses: the machine that runs this test may be busy."""
    path = tmp_path / "slo.yaml"
    path.write_text(LOOSE)
    return f"--slo={path}"


def addresses(server: TritonServer) -> list[str]:
    return ["--url", server.grpc_url, "--http-url", server.http_url, "--metrics-url", server.metrics_url]


def result_of(folder: Path) -> dict[str, Any]:
    [run] = folder.iterdir()
    assert {path.name for path in run.iterdir()} == {"report.html", "result.json", "requests.csv"}
    return dict(json.loads((run / "result.json").read_text()))


@pytest.mark.parametrize(
    "load, spread",
    [
        (["--rate=6", "--arrivals=gamma:burstiness=0.5", "--protocol=grpc"], 1),
        (["--rate=6", "--protocol=http-stream"], 2),
        (["--arrivals=closed", "--users=2", "--protocol=grpc"], 1),
    ],
)
def test_every_request_of_a_run_is_accounted_for(
    server: TritonServer,
    loose_objectives: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    load: list[str],
    spread: int,
) -> None:
    times = ["--duration=3", "--warm-up=1", "--grace=30", f"--workers={spread}", f"--output={tmp_path / 'out'}"]
    main(["run", *addresses(server), *load, *times, loose_objectives])
    result = result_of(tmp_path / "out")
    assert capsys.readouterr().out.startswith(("PASS  ", "INVALID  the generator itself was late"))
    assert result["outcomes"] == {"ok": result["requests"]} and result["requests"] > 3
    assert result["figures"]["attainment"] == 1 and result["figures"]["ttft_p50_ms"] > 0
    assert result["alone"]["characters_per_token"] == pytest.approx(3, abs=1)
    assert any(name.startswith("nv_inference_count") for name in result["server_metrics"])


def test_workers_that_are_set_up_late_still_send_their_shares(
    server: TritonServer, loose_objectives: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locust counts them as ready before; what is sent to them in between is lost."""
    (tmp_path / "locustfile.py").write_text(WORKERS_SET_UP_LATE)
    monkeypatch.setattr("loadtests.slo.generate.LOCUSTFILE", tmp_path / "locustfile.py")
    slo = loose_objectives.removeprefix("--slo=")
    plan = Plan(rate=20, duration=1, warm_up=0, grace=5, protocol=HTTP_STREAM, slo=slo)
    records = generate(plan, Addresses(server.grpc_url, server.http_url, server.metrics_url), workers=2)
    assert {record.outcome for record in records} == {"ok"}
    assert sorted(record.at for record in records) == [request.at for request in plan_requests(plan, plan.objectives())]
