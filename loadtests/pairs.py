"""A verifier beside the bundled drafters: what a comparison serves, and how large it is."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

VERIFIER = Path(__file__).resolve().parent.parent / "model_repository" / "verifier" / "1" / "weights"


@dataclass(frozen=True)
class Pair:
    name: str
    verifier: Path

    @property
    def is_bundle(self) -> bool:
        return self.verifier == VERIFIER

    @property
    def server_arguments(self) -> tuple[str, ...]:
        """Of `cospec-server`; none where the settings' own verifier is meant."""
        return () if self.is_bundle else ("--verifier-weights", str(self.verifier))


def bundle_and(checkpoints: Sequence[Path]) -> list[Pair]:
    """The bundle, then a pair for each checkpoint, by the name of its folder."""
    return [Pair("bundle", VERIFIER), *(Pair(path.resolve().name, path) for path in checkpoints)]


def num_parameters(checkpoint: Path) -> int:
    """From the headers of the safetensors files: eight bytes of length, then JSON. A tied head counts once."""
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    left_out = {"__metadata__", *(["lm_head.weight"] if config.get("tie_word_embeddings") else [])}
    total = 0
    for file in checkpoint.glob("*.safetensors"):
        with file.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        total += sum(prod(entry["shape"]) for name, entry in header.items() if name not in left_out)
    return total
