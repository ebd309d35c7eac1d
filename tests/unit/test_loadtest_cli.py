"""The command: bad input is one sentence and exit code 2, before any server is started."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from loadtests.bad_input import BadInput
from loadtests.generator.plan import Plan
from loadtests.server_process import Addresses
from loadtests.slo import generate as generating
from loadtests.slo import run as running
from loadtests.slo.cli import main
from loadtests.slo.generate import GeneratorFailed, environment, generate, locust_command

LOSES_A_WORKER = """import sys

[records] = [word.removeprefix("--records=") for word in sys.argv if word.startswith("--records=")]
open(records, "w").close()
sys.exit("locust: starting\\nloadtest: 1 of 2 workers were lost\\nlocust: bye")
"""


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["run", "--url", "localhost:1"], "no server answers gRPC at localhost:1"),
        (["run", "--url", "nowhere"], "--url must be host:port, got 'nowhere'"),
        (["run", "--rate=-3"], "--rate must be from"),
        (["run", "--workload", "law"], "unknown domain 'law'"),
        (["run", "--arrivals", "trace:none.csv"], "trace none.csv cannot be read"),
        (["run", "--settings", "none.yaml"], "--settings none.yaml: no such file"),
        (["run", "--verifier-weights", "none"], "no checkpoint"),
        (["run", "--baseline", "none.json"], "baseline none.json cannot be read"),
        (["run", "--workers", "0"], "--workers must be from 1 to 256"),
        (["sweep", "--arrivals", "closed"], "has no rate to sweep"),
        (["sweep", "--promises", "untold"], "a sweep tells them"),
        (["sweep", "--target", "1.5"], "--target must be above 0 and at most 1"),
        (["ui", "--mix", "vip=1"], "unknown class 'vip'"),
        (["ui", "--web-port", "99999"], "--web-port 99999 cannot be listened on"),
    ],
)
def test_what_must_change_is_one_sentence_and_exit_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "generate", lambda *_: pytest.fail("load was sent"))
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert words in captured.err.splitlines()[-1] and captured.out == ""
    assert captured.err.splitlines()[-1].startswith("loadtest: ") and "Traceback" not in captured.err


def test_a_gate_with_an_unknown_metric_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slo = tmp_path / "slo.yaml"
    slo.write_text("classes: {fast: {max_tokens: 8}}\ngate: {speed: {min: 1}}")
    assert main(["run", "--slo", str(slo)]) == 2
    assert "gate names the unknown metric 'speed'" in capsys.readouterr().err


def test_locust_itself_refuses_alike() -> None:
    """By its own command, which people use for the web UI and for distributed runs."""
    command = locust_command(Plan(rate=-1.0), Addresses("localhost:1", "localhost:2", "localhost:3"))
    result = subprocess.run([*command, "--headless"], capture_output=True, text=True, timeout=60, env=environment())
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == "loadtest: --rate must be from 0.001 to 100000, got -1"


def test_the_help_teaches_by_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0 and "python -m loadtests compare" in text and "exit codes" in text


def test_a_generator_that_cannot_reach_the_server_is_bad_input_and_leaves_nothing_behind() -> None:
    with pytest.raises(BadInput, match=r"^no server answers HTTP at localhost:2: "):
        generate(Plan(), Addresses("localhost:1", "localhost:2", "localhost:3"))


def test_what_a_generator_says_of_lost_workers_reaches_the_user(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generating, "locust_command", lambda *_: [sys.executable, "-c", LOSES_A_WORKER])
    assert generate(Plan(), Addresses("a:1", "b:2", "c:3"), workers=2) == []
    assert capsys.readouterr().err == "loadtest: 1 of 2 workers were lost\n"


def test_a_generator_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generating, "locust_command", lambda *_: [sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(generating, "SPARE", 0.5)
    started = time.monotonic()
    with pytest.raises(GeneratorFailed, match=r"did not end within 1\.5 s"):
        generate(Plan(duration=1.0, warm_up=0.0, grace=0.0), Addresses("a:1", "b:2", "c:3"))
    assert time.monotonic() - started < 20
