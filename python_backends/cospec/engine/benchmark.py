"""How long a step takes here, interleaved with transformers' own eager forward with its KV cache, and with reading as
many bytes as the verifier's matrices have, which every step has to read.

python -m cospec.engine.benchmark --verifier-weights build/verifier_03b
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from transformers import AutoModelForCausalLM, DynamicCache
from transformers.utils import logging

from cospec.config import DEFAULT_REPOSITORY, EngineSettings, ModelSettings, drafter_model, load_settings, with_verifier
from cospec.engine.blocks import Part, assemble
from cospec.engine.building import build_model
from cospec.engine.compiling import compile_missing
from cospec.engine.language_model import LanguageModel
from cospec.engine.weights import WeightsError, require_checkpoint

CONTEXT = 128
Step = Callable[[], object]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m cospec.engine.benchmark", description=__doc__)
    parser.add_argument("--json", action="store_true", help="medians in ms as JSON")
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--verifier-weights", type=Path, metavar="DIR", help="of another verifier than the bundle's")
    options = parser.parse_args(arguments)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        figures = {name: value * 1e3 for name, value in measure(options.repeats, options.verifier_weights).items()}
    except WeightsError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(figures))
        return 0
    for name in ("verifier_1_token", "verifier_8_tokens", "drafter_1_token"):
        ours, theirs = figures[name], figures[f"transformers_{name}"]
        print(f"{name:18} {ours:6.2f} ms   transformers {theirs:6.2f} ms   ratio {ours / theirs:.2f}")
    step, floor = figures["verifier_1_token"], figures["verifier_weights_read"]
    print(f"{'verifier_1_token':18} {step:6.2f} ms   its weights read {floor:4.2f} ms   ratio {step / floor:.2f}")
    return 0


def measure(repeats: int, verifier: Path | None = None) -> dict[str, float]:
    """Seconds of each step; the threads are the settings' own, for both sides. Raises `WeightsError`."""
    settings = with_verifier(load_settings(), verifier)
    require_checkpoint(settings.weights(DEFAULT_REPOSITORY)["verifier"])
    compile_missing(settings, DEFAULT_REPOSITORY)
    weights = settings.weights(DEFAULT_REPOSITORY)
    drafter = drafter_model(settings.drafters[0])
    return {
        **_compare("verifier", weights["verifier"], settings.engine, settings.engine.verifier, (1, 8), repeats),
        **_compare("drafter", weights[drafter], settings.engine, settings.engine.drafter, (1,), repeats),
    }


def _compare(
    role: str, weights: Path, engine: EngineSettings, settings: ModelSettings, widths: tuple[int, ...], repeats: int
) -> dict[str, float]:
    ours = build_model(engine, settings, weights)
    theirs = AutoModelForCausalLM.from_pretrained(weights, dtype=getattr(torch, settings.dtype)).to(ours.device).eval()
    figures = {}
    for width in widths:
        name = f"{role}_{width}_token{'s' if width > 1 else ''}"
        steps = {name: _our_step(ours, width), f"transformers_{name}": _their_step(theirs, width, ours.device)}
        if role == "verifier" and width == 1:
            steps["verifier_weights_read"] = reading(theirs)
        figures.update(interleaved(steps, repeats, ours.device))
    return figures


def interleaved(steps: dict[str, Step], repeats: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(repeats + 5):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number >= 5:  # the first ones warm up
                times[name].append(time.perf_counter() - started)
    return {name: median(values) for name, values in times.items()}


def _our_step(model: LanguageModel, width: int) -> Step:
    model.logits(assemble(model, [Part(0, 0, np.ones(CONTEXT, dtype=np.int32))]))
    part = Part(0, CONTEXT, np.ones(width, dtype=np.int32))
    every = [range(width)]

    def step() -> list[int]:
        tokens: list[int] = model.logits(assemble(model, [part], every)).argmax(-1).tolist()
        return tokens

    return step


def reading(model: torch.nn.Module) -> Step:
    """Of as many bytes as its matrices have, by the threads of a step, which of an embedding alone reads but a row."""
    matrices = {layer.weight for layer in model.modules() if isinstance(layer, torch.nn.Linear)}
    num_bytes = sum(matrix.numel() * matrix.element_size() for matrix in matrices)
    memory = torch.ones(num_bytes // 4, dtype=torch.float32, device=next(model.parameters()).device)
    return lambda: float(memory.sum())


def _their_step(model: torch.nn.Module, width: int, device: torch.device) -> Step:
    cache = DynamicCache()
    with torch.inference_mode():
        model(input_ids=torch.ones(1, CONTEXT, dtype=torch.int64, device=device), past_key_values=cache)
    tokens = torch.ones(1, width, dtype=torch.int64, device=device)

    def step() -> list[int]:
        with torch.inference_mode():
            logits = model(input_ids=tokens, past_key_values=cache).logits
            cache.crop(-width)
            chosen: list[int] = logits[0].argmax(-1).tolist()
        return chosen

    return step


if __name__ == "__main__":
    raise SystemExit(main())
