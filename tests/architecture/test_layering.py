"""Imports point one way; a model's shim is thin; files say what they are."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SERVER = ROOT / "python_backends" / "cospec"
OURS = {"cospec", "cospec_client", "loadtests"}

# Folder or file -> the modules of ours that it may import, and the third-party packages.
RULES: dict[str, tuple[set[str], set[str]]] = {
    "python_backends/cospec/strict_yaml.py": (set(), set()),
    "python_backends/cospec/mortal.py": (set(), set()),
    "python_backends/cospec/processor.py": (set(), set()),
    "python_backends/cospec/garbage.py": (set(), set()),
    "python_backends/cospec/config.py": ({"processor", "strict_yaml"}, {"yaml"}),
    "python_backends/cospec/signatures.py": (set(), set()),
    "python_backends/cospec/speculation": ({"config", "signatures", "speculation"}, {"numpy"}),
    "python_backends/cospec/simulation": ({"config", "speculation", "simulation"}, {"numpy", "tqdm"}),
    "python_backends/cospec/metrics": ({"config", "metrics", "speculation"}, set()),
    "python_backends/cospec/tracing.py": ({"config", "speculation"}, {"opentelemetry"}),
    "python_backends/cospec/engine": (
        {"config", "mortal", "processor", "signatures", "speculation", "engine"},
        {"numpy", "torch", "transformers", "tqdm"},
    ),
    "python_backends/cospec/triton_io": (
        {"config", "draining", "signatures", "speculation", "metrics", "tracing", "triton_io"},
        {"numpy", "triton_python_backend_utils", "tritonclient", "grpc"},
    ),
    "python_backends/cospec/training": (
        {"config", "speculation", "engine", "training"},
        {"numpy", "torch", "transformers", "tokenizers", "tqdm"},
    ),
    "python_backends/cospec/triton_models.py": ({"config", "engine", "garbage", "metrics", "triton_io"}, set()),
    "model_repository": ({"config", "engine", "garbage", "triton_io", "triton_models"}, set()),
    "client/cospec_client": ({"cospec_client"}, {"numpy", "tritonclient"}),
    "loadtests": (
        {"cospec_client", "loadtests"},
        {"matplotlib", "tqdm", "torch", "transformers", "locust", "yaml", "numpy", "openvino", "openvino_genai"}
        | {"tritonclient"}  # for the server's own statistics
        | {"gevent", "grpc", "flask", "jinja2"},  # Locust's loop, streams in it, its web UI, the report
    ),
    "loadtests/peer_openvino.py": (set(), {"numpy", "openvino", "openvino_genai"}),  # an environment of its own
}


def python_files(place: str) -> list[Path]:
    path = ROOT / place
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def imported(path: Path) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            modules.add(node.module or "")
    return modules


def layer(module: str) -> str:
    """`cospec.engine.weights` -> engine; a client or load-test module -> its package."""
    parts = module.split(".")
    return parts[1] if parts[0] == "cospec" and len(parts) > 1 else parts[0]


@pytest.mark.parametrize("place", RULES)
def test_imports_point_one_way(place: str) -> None:
    ours, third_party = RULES[place]
    files = python_files(place)
    assert files
    for path in files:
        for module in imported(path):
            package = module.split(".")[0]
            if package in OURS:
                assert layer(module) in ours, f"{path} imports {module}"
            elif package not in sys.stdlib_module_names:
                assert package in third_party, f"{path} imports {module}"


def test_every_package_has_a_rule() -> None:
    packages = {path.name for path in SERVER.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert packages == {
        Path(place).name for place in RULES if place.startswith("python_backends") and ".py" not in place
    }


def test_shims_are_thin_and_drafters_share_one() -> None:
    shims = sorted((ROOT / "model_repository").glob("*/1/model.py"))
    assert len(shims) == 7
    assert all(len(shim.read_text().splitlines()) <= 50 for shim in shims)
    assert len({shim.read_text() for shim in shims if shim.parts[-3].startswith("drafter_")}) == 1


def test_files_are_short_and_named_after_their_idea() -> None:
    for place in ("python_backends", "client", "loadtests", "model_repository", "deploy", "tests"):
        for path in python_files(place):
            assert path.stem not in {"utils", "helpers", "common"}, path
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 300, path


def test_client_and_server_agree_on_the_orchestrators_tensors() -> None:
    from cospec.signatures import ORCHESTRATOR
    from cospec_client import signatures as client

    kinds = {spec.name: spec.dtype.replace("STRING", "BYTES") for spec in ORCHESTRATOR.inputs}
    assert kinds == client.INPUTS
    assert tuple(spec.name for spec in ORCHESTRATOR.outputs) == client.OUTPUTS
