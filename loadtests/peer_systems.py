"""The engines that are compared, each behind `run`: contenders and prompts in, one cell a contender out."""

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cospec_client import Client
from transformers import AutoTokenizer

from loadtests.bench_plan import Cell, run_cell
from loadtests.json_process import CommandFailed, json_of
from loadtests.metrics import Sample, summarize
from loadtests.peer_plan import OWN, Contender
from loadtests.workload import DOMAINS, Prompt

REPOSITORY = Path(__file__).resolve().parent.parent
PEER_PYTHON = REPOSITORY / ".venv-peers" / "bin" / "python"
CONVERTED = REPOSITORY / "build" / "openvino"
WORKER = str(Path(__file__).with_name("peer_openvino.py"))


class System(Protocol):
    def run(
        self, contenders: Sequence[Contender], concurrency: int, prompts: Sequence[Prompt], max_tokens: int
    ) -> list[Cell]: ...


@dataclass(frozen=True)
class CoSpec:
    """A running server."""

    client: Client

    def run(
        self, contenders: Sequence[Contender], concurrency: int, prompts: Sequence[Prompt], max_tokens: int
    ) -> list[Cell]:
        return [run_cell(self.client, each.mode, concurrency, prompts, max_tokens) for each in contenders]


class OpenVino:
    """Converted models, run by `peer_openvino.py`. Raises `CommandFailed`."""

    def __init__(self, models: Path, checkpoint: Path) -> None:
        self.versions: dict[str, str] = {}
        self._models = models
        self._tokenizer = AutoTokenizer.from_pretrained(checkpoint)

    def run(
        self, contenders: Sequence[Contender], concurrency: int, prompts: Sequence[Prompt], max_tokens: int
    ) -> list[Cell]:
        shares = [list(_shares(contender, prompts)) for contender in contenders]
        jobs = [
            self._job(drafter, each.num_draft_tokens, concurrency, part)
            for each, parts in zip(contenders, shares, strict=True)
            for drafter, part in parts
        ]
        job = {"models": str(self._models), "max_tokens": max_tokens, "cells": jobs}
        answer = json_of([str(PEER_PYTHON), WORKER, "measure"], "peer_openvino", stdin=json.dumps(job))
        self.versions = answer["versions"]
        results = iter(answer["cells"])
        return [self._cell([(part, next(results)) for _, part in parts]) for parts in shares]

    def _job(self, drafter: str, num_draft_tokens: int, concurrency: int, prompts: list[Prompt]) -> dict[str, Any]:
        return {
            "drafter": drafter and f"drafter_{drafter}",
            "num_draft_tokens": num_draft_tokens,
            "concurrency": concurrency,
            "prompts": [self._tokenizer(prompt.text)["input_ids"] for prompt in prompts],
        }

    def _cell(self, parts: list[tuple[list[Prompt], dict[str, Any]]]) -> Cell:
        return cell_of(parts, lambda tokens: self._tokenizer.decode(tokens, skip_special_tokens=True))


def _shares(contender: Contender, prompts: Sequence[Prompt]) -> Iterable[tuple[str, list[Prompt]]]:
    """Drafters of a contender, each with the prompts that it serves."""
    if contender.drafter != OWN:
        yield contender.drafter, list(prompts)
        return
    for domain in DOMAINS:
        if own := [prompt for prompt in prompts if prompt.domain == domain]:
            yield domain, own


def cell_of(parts: list[tuple[list[Prompt], dict[str, Any]]], decode: Callable[[list[int]], str]) -> Cell:
    """Prompts and what `peer_openvino.measure` says of them, pooled; parts were measured one after another."""
    answers = [pair for prompts, result in parts for pair in zip(prompts, result["answers"], strict=True)]
    samples = [_sample(answer) for _, answer in answers]
    texts = tuple((prompt.text, decode(answer["tokens"])) for prompt, answer in answers)
    return Cell(summarize(samples, sum(result["seconds"] for _, result in parts)), texts)


def _sample(answer: dict[str, Any]) -> Sample:
    """Every pass of the verifier counts as a round, and what it brings beyond one token as accepted."""
    tokens, steps = len(answer["tokens"]), answer["num_steps"]
    return Sample(answer["ttft"], answer["latency"], tokens, steps, tokens - steps)


def convert(name: str, verifier: Path, weights: str = "16 bits") -> Path:
    """Verifier and, at 16 bits, drafters as OpenVINO models, made once; their folder. Raises `CommandFailed`."""
    models = {"verifier": verifier}
    if weights == "16 bits":
        models |= {f"drafter_{domain}": drafter_weights(domain) for domain in DOMAINS}
    out = CONVERTED / f"{name}-{weights.replace(' ', '')}-{_digest(models.values())}"
    named = [f"{model}={folder}" for model, folder in models.items()]
    command = [str(PEER_PYTHON), WORKER, "convert", "--out", str(out), "--weights", weights, *named]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise CommandFailed(f"conversion to OpenVINO (exit code {result.returncode}): {result.stderr.strip()[-500:]}")
    return out


def _digest(checkpoints: Iterable[Path]) -> str:
    """Of what is inside, so that weights trained anew are converted anew."""
    digest = hashlib.sha256()
    for path in sorted(file for folder in checkpoints for file in folder.iterdir() if file.is_file()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def drafter_weights(domain: str) -> Path:
    return REPOSITORY / "model_repository" / f"drafter_{domain}" / "1" / "weights"
