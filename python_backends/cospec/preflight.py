"""What must hold before a server starts. Each check raises `ServeError` with one sentence that says what to do."""

import importlib.util
import json
import shutil
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

from cospec.config import Settings
from cospec.engine.routing_prior import RoutingPriorError, load_routing_prior
from cospec.engine.same_vocabulary import OtherVocabulary, require_same_vocabulary
from cospec.triton_installation import ServeError

SHARED_MEMORY = Path("/dev/shm")
MEBIBYTES_PER_MODEL = 8  # each model's stub maps a few regions of 1 MiB, which grow with the calls


def check_ports(ports: Iterable[int], host: str) -> None:
    """`host`: address to listen on."""
    for port in ports:
        if port == 0:
            raise ServeError("port 0 cannot be used: nobody would know which it became; choose another")
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except (OSError, OverflowError) as error:
                raise ServeError(f"port {port} cannot be used ({error}); choose another") from None


def check_shared_memory(num_models: int, directory: Path = SHARED_MEMORY) -> None:
    needed = num_models * MEBIBYTES_PER_MODEL
    free = shutil.disk_usage(directory).free // 2**20
    if free < needed:
        raise ServeError(
            f"{directory} has {free} MiB free, {needed} MiB are needed for {num_models} models; "
            "in a container, raise --shm-size"
        )


def check_files(paths: Iterable[Path]) -> None:
    """That they can be read."""
    for path in paths:
        try:
            path.open("rb").close()
        except OSError as error:
            raise ServeError(f"{path} cannot be read: {error.strerror}") from None


def check_tracing(settings: Settings) -> None:
    if not settings.tracing.endpoint:
        return
    if not all(importlib.util.find_spec(name) for name in ("opentelemetry", "opentelemetry.exporter")):
        raise ServeError(
            "tracing.endpoint is set, but OpenTelemetry is not here; "
            "pip install '.[tracing]' in CoSpec's folder brings it"
        )


def check_weights(settings: Settings, repository: Path) -> None:
    """The files of the models served: present, readable as far as their headers tell, and of the verifier's vocabulary.

    A server of drafters alone need not have the verifier's files.
    """
    weights = settings.weights(repository)
    needed = {*settings.model_names, *(["verifier"] if "orchestrator" in settings.model_names else [])}
    for directory in (weights[model] for model in weights if model in needed):
        check_checkpoint(directory)
        if "verifier" in needed:
            _check_vocabulary(directory, weights["verifier"])


def check_routing_prior(settings: Settings, repository: Path) -> None:
    """The text classifier's file, where there is one; after `check_weights`."""
    try:
        load_routing_prior(settings, repository)
    except RoutingPriorError as error:
        raise ServeError(str(error)) from None


def check_checkpoint(directory: Path) -> None:
    """The files of one model, likewise."""
    for name in ("config.json", "tokenizer.json"):
        _check_json(directory / name)
    shards = sorted(directory.glob("*.safetensors"))
    if not shards:
        raise ServeError(f"{directory} holds no *.safetensors; `cospec-server train` or a download provides weights")
    for shard in shards:
        _check_safetensors(shard)


def _check_vocabulary(drafter: Path, verifier: Path) -> None:
    try:
        require_same_vocabulary(drafter, verifier)
    except OtherVocabulary as error:
        raise ServeError(str(error)) from None


def _check_json(path: Path) -> None:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ServeError(f"{path} is missing; `cospec-server train` or a download provides weights") from None
    except ValueError:
        raise ServeError(f"{path} is damaged: it is not valid JSON") from None


def _check_safetensors(path: Path) -> None:
    """A header of JSON, its length before it, then exactly the bytes that the header describes."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, size)))
        end = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
    except (struct.error, ValueError, KeyError, TypeError):
        raise ServeError(f"{path} is damaged: its header cannot be read") from None
    if 8 + length + end != size:
        raise ServeError(f"{path} is damaged: {size} bytes long, its header describes {8 + length + end}")
