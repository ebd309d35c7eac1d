"""`cospec-server render`: `cospec.yaml` and the signatures, as each model's `config.pbtxt`.

The files are committed, so that the repository shows what Triton sees; `--check` says whether they are up to date.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from cospec.config import DEFAULT_REPOSITORY, Settings, drafter_model, load_settings
from cospec.signatures import DRAFTER, ORCHESTRATOR, VERIFIER, ModelSignature, TensorSpec

HEADER = "# Rendered from cospec.yaml and signatures.py by `cospec-server render`: edit those, not this.\n"


def render_all(settings: Settings) -> dict[str, str]:
    """Model name -> the text of its `config.pbtxt`."""
    return {name: _as_text(config) for name, config in model_configs(settings).items()}


def model_configs(settings: Settings) -> dict[str, Any]:
    """Model name -> `model_config_pb2.ModelConfig`."""
    engine, serving = settings.engine, settings.serving
    configs = {"orchestrator": _orchestrator()}
    for model in settings.verifier_models:
        configs[model] = _callee(model, VERIFIER, engine.verifier.num_slots, serving.max_queue_delay_microseconds)
    for model in map(drafter_model, settings.drafters):
        configs[model] = _callee(model, DRAFTER, engine.drafter.num_slots, 0)
    return {name: json_format.ParseDict(config, model_config_pb2.ModelConfig()) for name, config in configs.items()}


def _orchestrator() -> dict[str, Any]:
    return {
        **_model("orchestrator", ORCHESTRATOR),
        "max_batch_size": 0,
        "model_transaction_policy": {"decoupled": True},
    }


def _callee(name: str, signature: ModelSignature, max_batch_size: int, delay: int) -> dict[str, Any]:
    return {
        **_model(name, signature),
        "max_batch_size": max_batch_size,
        "dynamic_batching": {"max_queue_delay_microseconds": delay},
        "parameters": {"FORCE_CPU_ONLY_INPUT_TENSORS": {"string_value": "yes"}},
    }


def _model(name: str, signature: ModelSignature) -> dict[str, Any]:
    return {
        "name": name,
        "backend": "python",
        "input": [_input(spec) for spec in signature.inputs],
        "output": [_tensor(spec) for spec in signature.outputs],
        # One instance, however many GPUs there are: it owns the KV cache of its sessions, or the pool of requests. To
        # Triton all run on the CPU; an engine takes its GPU itself.
        "instance_group": [{"count": 1, "kind": "KIND_CPU"}],
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "data_type": f"TYPE_{spec.dtype}", "dims": list(spec.dims)}


def _input(spec: TensorSpec) -> dict[str, Any]:
    return {**_tensor(spec), "optional": spec.optional, "allow_ragged_batch": spec.ragged}


def _as_text(config: Any) -> str:
    text: str = text_format.MessageToString(config)
    # Protobuf drops a zero, but Triton reads a missing max_batch_size as "complete it yourself".
    if config.max_batch_size == 0:
        text += "max_batch_size: 0\n"
    return HEADER + text


def main(arguments: argparse.Namespace) -> int:
    """Write the files, or with `--check` compare them; returns the exit code."""
    repository = Path(getattr(arguments, "model_repository", None) or DEFAULT_REPOSITORY)
    stale = []
    settings = replace(load_settings(getattr(arguments, "settings", None)), verifiers=1)  # `serve` makes the others
    for name, text in render_all(settings).items():
        path = repository / name / "config.pbtxt"
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(str(path))
        if not arguments.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if stale and arguments.check:
        print(f"out of date, run `cospec-server render`: {', '.join(stale)}", file=sys.stderr)
        return 1
    return 0
