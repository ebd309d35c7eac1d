"""Drafters and verifier speak in token ids: an id must mean the same to all of them."""

import json
from pathlib import Path
from typing import Any


class OtherVocabulary(ValueError):
    """A drafter whose token ids are not the verifier's; the message names both."""


def require_same_vocabulary(drafter: Path, verifier: Path) -> None:
    """Two checkpoints' tokenizers give every text the same ids, and no id is beyond the verifier's embedding.

    Raises `OtherVocabulary`. A drafter's embedding may be smaller: families pad theirs by size.
    """
    ours, theirs = _tokens(drafter), _tokens(verifier)
    if ours != theirs:
        raise OtherVocabulary(
            f"{drafter} has another vocabulary than the verifier ({verifier}): {len(ours)} tokens and {len(theirs)}, "
            f"{len(ours.items() & theirs.items())} of them the same; a drafter must use the verifier's tokenizer"
        )
    rows, most = _embedding_rows(drafter), _embedding_rows(verifier)
    if rows is not None and most is not None and rows > most:
        raise OtherVocabulary(
            f"{drafter} can draft {rows} token ids, the verifier ({verifier}) knows {most}; "
            "a drafter must not have more"
        )


def _tokens(checkpoint: Path) -> dict[str, int]:
    document = _read(checkpoint / "tokenizer.json")
    vocabulary = document.get("model", {}).get("vocab", {})
    if isinstance(vocabulary, list):  # unigram models list (token, score)
        vocabulary = {token: index for index, (token, _) in enumerate(vocabulary)}
    return {**vocabulary, **{added["content"]: added["id"] for added in document.get("added_tokens", ())}}


def _embedding_rows(checkpoint: Path) -> int | None:
    return _read(checkpoint / "config.json").get("vocab_size")


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
