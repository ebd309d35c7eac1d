"""What keeps a server from starting is one sentence, before anything has started."""

import json
import shutil
import socket
import struct
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cospec.cli import main
from cospec.config import RemoteDrafterSettings, Settings
from cospec.own_http import call, reachable
from cospec.preflight import check_files, check_ports, check_shared_memory, check_weights
from cospec.serve import free_ports
from cospec.triton_installation import ServeError, check_python

SETTINGS = Settings(drafters=("a",))


def safetensors(body: bytes, declared: int) -> bytes:
    header = json.dumps({"x": {"dtype": "U8", "shape": [declared], "data_offsets": [0, declared]}}).encode()
    return struct.pack("<Q", len(header)) + header + body


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Weights that pass."""
    for model in ("verifier", "drafter_a"):
        directory = tmp_path / model / "1" / "weights"
        directory.mkdir(parents=True)
        (directory / "config.json").write_text("{}")
        (directory / "tokenizer.json").write_text("{}")
        (directory / "model.safetensors").write_bytes(safetensors(b"1234", 4))
    return tmp_path


def refusal(repository: Path) -> str:
    with pytest.raises(ServeError) as error:
        check_weights(SETTINGS, repository)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_good_weights_pass(repository: Path) -> None:
    check_weights(SETTINGS, repository)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_named(repository: Path, name: str) -> None:
    (repository / "drafter_a" / "1" / "weights" / name).unlink()
    assert "drafter_a" in refusal(repository) and "cospec-server train" in refusal(repository)


@pytest.mark.parametrize("content", [b"", b"12345678", safetensors(b"123", 4), safetensors(b"12345", 4), b"\xff" * 64])
def test_damaged_weights_are_named(repository: Path, content: bytes) -> None:
    (repository / "verifier" / "1" / "weights" / "model.safetensors").write_bytes(content)
    assert "verifier/1/weights/model.safetensors is damaged" in refusal(repository)


def test_a_damaged_configuration_is_named(repository: Path) -> None:
    (repository / "verifier" / "1" / "weights" / "config.json").write_text("{")
    assert "config.json is damaged" in refusal(repository)


def test_a_drafter_with_another_vocabulary_is_refused(repository: Path) -> None:
    for model, vocabulary in (("verifier", {"a": 0, "b": 1}), ("drafter_a", {"a": 0, "c": 1})):
        tokenizer = {"model": {"vocab": vocabulary}, "added_tokens": [{"content": "<s>", "id": 2}]}
        (repository / model / "1" / "weights" / "tokenizer.json").write_text(json.dumps(tokenizer))
    sentence = refusal(repository)
    assert "drafter_a/1/weights has another vocabulary than the verifier" in sentence
    assert "3 tokens and 3, 2 of them the same" in sentence


def test_a_drafter_with_more_token_ids_than_the_verifier_is_refused(repository: Path) -> None:
    for model, size in (("verifier", 100), ("drafter_a", 128)):
        (repository / model / "1" / "weights" / "config.json").write_text(json.dumps({"vocab_size": size}))
    assert "drafter_a/1/weights can draft 128 token ids" in refusal(repository)
    (repository / "drafter_a" / "1" / "weights" / "config.json").write_text(json.dumps({"vocab_size": 90}))
    check_weights(SETTINGS, repository)


def test_a_server_of_drafters_needs_no_verifier(repository: Path) -> None:
    shutil.rmtree(repository / "verifier")
    check_weights(replace(SETTINGS, models=("drafter_a",)), repository)
    assert "verifier/1/weights/config.json is missing" in refusal(repository)


def test_an_orchestrator_needs_no_files_of_a_remote_drafter(repository: Path) -> None:
    shutil.rmtree(repository / "drafter_a")
    check_weights(replace(SETTINGS, remote_drafters={"a": RemoteDrafterSettings(("b:1",))}), repository)
    assert "drafter_a/1/weights/config.json is missing" in refusal(repository)


def test_half_of_a_certificate_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--tls-key", str(tmp_path / "key.pem")]) == 2
    assert capsys.readouterr().err == "cospec-server: TLS needs --tls-certificate and --tls-key\n"


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match=r"absent\.pem cannot be read: No such file or directory"):
        check_files([tmp_path / "absent.pem"])


def test_a_taken_port_is_named() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(ServeError, match=f"port {port} cannot be used"):
            check_ports([*free_ports(1), port], "127.0.0.1")


def test_an_impossible_port_is_named() -> None:
    for port in (0, 70000):
        with pytest.raises(ServeError, match=f"port {port} cannot be used"):
            check_ports([port], "0.0.0.0")


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ServeError, match="cannot be used"):
        check_ports(free_ports(1), "192.0.2.1")


@pytest.mark.parametrize(
    ("host", "reached"),
    [("0.0.0.0", "localhost"), ("127.0.0.1", "localhost"), ("10.0.0.5", "10.0.0.5"), ("::1", "[::1]"), ("::", "[::1]")],
)
def test_a_server_is_reached_where_it_listens(host: str, reached: str) -> None:
    assert reachable(host) == reached


def test_a_proxy_is_not_asked_for_our_own_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:9")

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Ready) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert call(f"http://localhost:{server.server_port}/", 5.0) == 200
        server.shutdown()


def test_too_little_shared_memory_is_said_with_what_is_needed() -> None:
    with pytest.raises(ServeError, match=r"8000000 MiB are needed for 1000000 models"):
        check_shared_memory(1_000_000)


def test_an_unsupported_python_is_named() -> None:
    with pytest.raises(ServeError, match=r"Python 3\.13 is not supported; use one of 3\.10, 3\.11, 3\.12"):
        check_python((3, 13))


def test_bad_settings_end_the_command_with_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "cospec.yaml"
    settings.write_text("engine: {device: tpu}")
    assert main(["serve", "--settings", str(settings)]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"cospec-server: {settings}: engine.device must be one of auto, cpu, cuda, got 'tpu'\n"
