"""The file that holds a bundle's text classifier."""

import json
import zipfile
import zlib
from pathlib import Path

import numpy as np

from cospec.config import Settings
from cospec.speculation.routing_prior import RoutingPrior

REMEDY = "remove it, or train another with `cospec-server train --stage routing-prior`"


class RoutingPriorError(ValueError):
    """A file that cannot be used; the message names it and says what to do."""


def routing_prior_path(repository: Path) -> Path:
    return repository / "orchestrator" / "1" / "routing_prior.npz"


def load_routing_prior(settings: Settings, repository: Path) -> RoutingPrior | None:
    """None where there is no file, or where it knows none of the drafters. Raises `RoutingPriorError`."""
    path = routing_prior_path(repository)
    if not path.is_file():
        return None
    prior = read_routing_prior(path)
    known, size = len(prior.weights), vocabulary_size(settings.weights(repository)["verifier"])
    if known != size:
        raise RoutingPriorError(f"{path} is for a vocabulary of {known} tokens, the verifier's has {size}; {REMEDY}")
    return prior if set(prior.domains) & set(settings.drafters) else None


def read_routing_prior(path: Path) -> RoutingPrior:
    """Raises `RoutingPriorError`."""
    try:
        with np.load(path, allow_pickle=False) as file:
            domains = tuple(str(name) for name in file["domains"])
            prior = RoutingPrior(domains, file["weights"].astype(np.float32), float(file["change"]))
    except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile, zlib.error):
        raise RoutingPriorError(f"{path} is damaged: it cannot be read; {REMEDY}") from None
    if not _is_sound(prior):
        raise RoutingPriorError(f"{path} is damaged: its weights do not fit its domains, or are not finite; {REMEDY}")
    return prior


def write_routing_prior(prior: RoutingPrior, path: Path) -> None:
    weights = prior.weights.astype(np.float16)
    np.savez(path, domains=np.asarray(prior.domains), weights=weights, change=np.asarray(prior.change))


def vocabulary_size(weights: Path) -> int | None:
    """Of a checkpoint; None where its configuration does not say."""
    size: int | None = json.loads((weights / "config.json").read_text(encoding="utf-8")).get("vocab_size")
    return size


def _is_sound(prior: RoutingPrior) -> bool:
    shape = prior.weights.shape
    fits = len(shape) == 2 and shape[0] > 0 and shape[1] == len(prior.domains) > 0
    return fits and bool(np.isfinite(prior.weights).all()) and 0 < prior.change < 1
