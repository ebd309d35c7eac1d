"""`cospec`: text on stdout, statistics on stderr, exit codes."""

import pytest
from cospec_client import Client, Unavailable, cli
from test_client import ScriptedTransport


@pytest.fixture
def transport(monkeypatch: pytest.MonkeyPatch) -> ScriptedTransport:
    scripted = ScriptedTransport(("te", 1), ("xt", 2))
    monkeypatch.setattr(cli, "Client", lambda *_: Client(transport=scripted))
    return scripted


def test_a_stream_goes_to_stdout_and_its_statistics_to_stderr(
    transport: ScriptedTransport, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["stream", "x", "--min-tokens", "2", "--ignore-eos", "--stop", "a", "--stop", "b"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "text\n"
    assert captured.err.startswith("[3 tokens in ") and "drafters: code 100%" in captured.err
    assert (transport.inputs["min_tokens"], transport.inputs["ignore_eos"]) == (2, True)
    assert transport.inputs["stop_words"] == ["a", "b"]


def test_health_is_an_exit_code(transport: ScriptedTransport, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["health"]) == 0
    transport.error = Unavailable("not there")
    assert cli.main(["health"]) == 1
    assert capsys.readouterr().out == "ready\nnot ready\n"


def test_ctrl_c_is_130_without_a_traceback(transport: ScriptedTransport, capsys: pytest.CaptureFixture[str]) -> None:
    transport.error = KeyboardInterrupt()  # type: ignore[assignment]
    assert cli.main(["generate", "x"]) == 130
    assert capsys.readouterr().err == ""


def test_help_shows_examples_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert 'cospec generate "def fib(n):"' in text and "2  a value must change" in text


def test_a_missing_command_is_exit_code_2() -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main([])
