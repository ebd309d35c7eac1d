"""`cospec-server profile`: what calls cost here, and how well the cost model tells it."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from cospec.config import Settings, load_settings, with_verifier
from cospec.engine.profiles import profile_store
from cospec.serve import ServeOptions, TritonServer, free_ports
from cospec.speculation.cost_model import CostModel
from cospec.speculation.profiling import Profile

FOLDS = 4
Pairs = list[tuple[str, float, float]]  # stage and work, seconds measured, seconds predicted from other measurements


def run(options: argparse.Namespace) -> int:
    """Raises `ServeError`, `SettingsError`."""
    settings = with_verifier(load_settings(options.settings), options.verifier_weights)
    profile = measured(options, settings)
    pairs = held_out(profile)
    _print(profile, pairs)
    if options.plot is not None:
        return _plot(pairs, options.plot)
    return 0


def measured(options: argparse.Namespace, settings: Settings) -> Profile:
    """The profile that is kept for this machine and these models; measured now, where there is none or if asked."""
    store = profile_store(settings, options.model_repository.resolve())
    kept = None if options.again else store.load()
    if kept is not None:
        return kept
    store.clear()
    print("starting a server to measure its calls", file=sys.stderr)
    http, grpc, metrics = free_ports(3)
    with TritonServer(
        ServeOptions(
            settings=options.settings,
            model_repository=options.model_repository,
            verifier_weights=options.verifier_weights,
            http_port=http,
            grpc_port=grpc,
            metrics_port=metrics,
            host="127.0.0.1",
            verbose=False,
        )
    ):
        pass
    return store.load() or Profile()


def held_out(profile: Profile) -> Pairs:
    """Every measurement, predicted by a model that saw only the others: each fold in turn is left out."""
    pairs: Pairs = []
    for fold in range(FOLDS):
        costs = CostModel()
        costs.learn(_without(profile.verify, fold), _without(profile.draft, fold))
        pairs += _predicted("verify", _of(profile.verify, fold), costs.verify_seconds)
        pairs += _predicted("draft", _of(profile.draft, fold), costs.draft_seconds)
    return pairs


def _of(measurements: Sequence[Any], fold: int) -> list[Any]:
    """Sizes come in a fixed order: a stride of the folds' own would leave out one size everywhere."""
    return [each for number, each in enumerate(measurements) if (number + number // FOLDS) % FOLDS == fold]


def _without(measurements: Sequence[Any], fold: int) -> list[Any]:
    left_out = _of(measurements, fold)
    return [each for each in measurements if each not in left_out]


def _predicted(stage: str, measurements: Sequence[Any], predict: Callable[[Any], float]) -> Pairs:
    return [(f"{stage} {_words(work)}", seconds, predict(work)) for work, seconds in measurements]


def _words(work: Any) -> str:
    return ", ".join(f"{value} {name}" for name, value in vars(work).items())


def errors_of(pairs: Pairs) -> list[float]:
    """Relative."""
    return [abs(predicted - seconds) / seconds for _, seconds, predicted in pairs]


def _print(profile: Profile, pairs: Pairs) -> None:
    print(f"{'work':62} {'measured':>11} {'predicted':>11}")
    for words, seconds, predicted in sorted(pairs, key=lambda pair: (pair[0].split()[0], pair[1])):
        print(f"{words:62} {seconds * 1e3:8.2f} ms {predicted * 1e3:8.2f} ms")
    errors = errors_of(pairs)
    print(
        f"{len(profile.verify)} calls to the verifier, {len(profile.draft)} drafting stages; of each, predicted from "
        f"the others: median error {median(errors):.1%}, p90 {np.percentile(errors, 90):.1%}"
    )


def _plot(pairs: Pairs, path: Path) -> int:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print(
            "cospec-server: --plot needs matplotlib, which pip install '.[loadtest]' in CoSpec's folder brings",
            file=sys.stderr,
        )
        return 2
    figure = Figure(figsize=(6, 5.4), layout="constrained")
    axes = figure.subplots()
    for stage, colour in (("verify", "#2a6f97"), ("draft", "#e07a2f")):
        chosen = [(seconds * 1e3, predicted * 1e3) for words, seconds, predicted in pairs if words.startswith(stage)]
        x, y = zip(*chosen, strict=True)
        axes.scatter(x, y, s=18, color=colour, label=stage, alpha=0.8)
    low, high = min(seconds for _, seconds, _ in pairs) * 1e3, max(seconds for _, seconds, _ in pairs) * 1e3
    axes.plot([low, high], [low, high], color="#888888", linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="measured, ms", ylabel="predicted from other measurements, ms")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    print(f"wrote {path}")
    return 0
