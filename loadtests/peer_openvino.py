"""OpenVINO GenAI on the benchmark's token ids, in a process and an environment of its own (.venv-peers).

python peer_openvino.py convert --out FOLDER verifier=CHECKPOINT drafter_code=CHECKPOINT ...
python peer_openvino.py measure < job.json > answers.json

Imports nothing of this project: what goes in and out is JSON, described at `measure`.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("openvino", "openvino-genai", "optimum-intel")
WEIGHT_FORMAT = {"16 bits": "fp16", "int8": "int8"}
# The CPU plugin computes in bfloat16 by itself where the processor has AMX; its default cache is 8 bits wide, not ours.
PROPERTIES = {"KV_CACHE_PRECISION": "f16"}
TOKENIZER_FILES = ("openvino_tokenizer*", "openvino_detokenizer*", "tokenizer*")
CACHE_GIB = 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="peer_openvino.py", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    converting = commands.add_parser("convert", help="Hugging Face checkpoints to OpenVINO models, once")
    converting.add_argument("--out", type=Path, required=True, help="folder; what is there already is left alone")
    converting.add_argument("--weights", choices=WEIGHT_FORMAT, default="16 bits", help="format (default: %(default)s)")
    converting.add_argument("models", nargs="+", help="NAME=CHECKPOINT; the first one's tokenizer serves all")
    commands.add_parser("measure", help="run the job on stdin")
    options = parser.parse_args()
    if options.command == "convert":
        convert(dict(model.split("=", 1) for model in options.models), options.out, options.weights)
    else:
        json.dump(measure(json.load(sys.stdin)), sys.stdout)
    return 0


def convert(models: dict[str, str], out: Path, weights: str) -> None:
    """Each model into `out`/NAME. Raises CalledProcessError where optimum-intel refuses one."""
    first = out / next(iter(models))
    for name, checkpoint in models.items():
        if not (out / name / "openvino_model.xml").exists():
            _export(checkpoint, out / name, WEIGHT_FORMAT[weights])
        if out / name != first:  # GenAI compares the settings of two tokenizers, not only their vocabularies
            for pattern in TOKENIZER_FILES:
                for file in first.glob(pattern):
                    shutil.copy(file, out / name)


def _export(checkpoint: str, folder: Path, weight_format: str) -> None:
    command = [str(Path(sys.executable).parent / "optimum-cli"), "export", "openvino", "--model", checkpoint]
    options = ["--task", "text-generation-with-past", "--weight-format", weight_format, str(folder)]
    subprocess.run([*command, *options], check=True, stdout=sys.stderr)


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Run a job's cells, each on a warm pipeline.

    Job: `models` (folder of `convert`), `max_tokens`, `cells`: each with `drafter` (folder's name, "" for none),
    `num_draft_tokens`, `concurrency` and `prompts` (lists of token ids). Answer: `versions` and `cells`, in order, each
    with `seconds` and `answers`: `tokens`, `ttft` and `latency` in seconds, `num_steps` (verifier passes), per prompt.
    """
    models = Path(job["models"])
    results: list[dict[str, Any]] = [{} for _ in job["cells"]]
    for drafter in sorted({cell["drafter"] for cell in job["cells"]}):
        pipeline = _pipeline(models, drafter)  # one at a time: a pipeline holds its threads and its cache
        for index, cell in enumerate(job["cells"]):
            if cell["drafter"] == drafter:
                run_cell(pipeline, {**cell, "prompts": cell["prompts"][: cell["concurrency"]]}, job["max_tokens"])
                results[index] = run_cell(pipeline, cell, job["max_tokens"])
    return {"versions": {name: version(name) for name in PACKAGES}, "cells": results}


def _pipeline(models: Path, drafter: str) -> Any:
    import openvino_genai as genai

    scheduler = genai.SchedulerConfig()
    scheduler.cache_size = CACHE_GIB
    scheduler.enable_prefix_caching = False  # a prompt that comes again must cost what it cost before
    scheduler.max_num_batched_tokens = 2048
    properties: dict[str, Any] = dict(PROPERTIES)
    if drafter:
        properties["draft_model"] = genai.draft_model(models / drafter, "CPU", **PROPERTIES)
    return genai.ContinuousBatchingPipeline(models / "verifier", scheduler, "CPU", properties)


def run_cell(pipeline: Any, cell: dict[str, Any], max_tokens: int) -> dict[str, Any]:
    """Closed loop: as many requests in the pipeline as the cell's concurrency, until every prompt is answered."""
    config = _generation_config(cell["num_draft_tokens"] if cell["drafter"] else 0, max_tokens)
    waiting = list(reversed(list(enumerate(cell["prompts"]))))
    live: dict[int, Request] = {}
    answers: list[dict[str, Any]] = [{} for _ in cell["prompts"]]
    started = time.perf_counter()
    while waiting or live:
        while waiting and len(live) < cell["concurrency"]:
            index, prompt = waiting.pop()
            live[index] = Request(pipeline, index, prompt, config)
        pipeline.step()
        for index, request in list(live.items()):
            if request.is_finished_after_step():
                answers[index] = live.pop(index).answer()
    return {"seconds": time.perf_counter() - started, "answers": answers}


class Request:
    """One prompt on its way through the pipeline."""

    def __init__(self, pipeline: Any, index: int, prompt: list[int], config: Any) -> None:
        import numpy as np
        import openvino as ov

        self._started = time.perf_counter()
        self._handle = pipeline.add_request(index, ov.Tensor(np.array([prompt], dtype=np.int64)), config)
        self._tokens: list[int] = []
        self._ttft = self._latency = 0.0
        self._num_steps = 0

    def is_finished_after_step(self) -> bool:
        """Takes what the step brought."""
        from openvino_genai import GenerationStatus

        finished = self._handle.get_status() != GenerationStatus.RUNNING
        self._latency = time.perf_counter() - self._started
        while self._handle.can_read():
            self._ttft = self._ttft or self._latency
            [output] = self._handle.read().values()
            self._tokens += output.generated_ids
            self._num_steps += 1
        return finished

    def answer(self) -> dict[str, Any]:
        return {
            "tokens": self._tokens,
            "ttft": self._ttft,
            "latency": self._latency,
            "num_steps": self._num_steps,
        }


def _generation_config(num_draft_tokens: int, max_tokens: int) -> Any:
    import openvino_genai as genai

    config = genai.GenerationConfig()
    config.max_new_tokens = max_tokens
    config.ignore_eos = True
    config.do_sample = False
    if num_draft_tokens:
        config.num_assistant_tokens = num_draft_tokens
    return config


if __name__ == "__main__":
    raise SystemExit(main())
