"""Corpora: JSONL files of `{"domain", "prompt", "response"}`, packed into rows of token ids."""

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

DOMAINS = ("chat", "code", "literature", "math", "medicine")


class CorpusError(ValueError):
    """A corpus file that cannot be used; the message names file, line and fault."""


@dataclass(frozen=True)
class Example:
    domain: str
    prompt: str
    response: str


def read_corpus(path: Path) -> list[Example]:
    """Read a `.jsonl` or `.jsonl.gz` file; raises `CorpusError` on the first bad line."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            return [_parse(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror or error}") from error


def _parse(path: Path, number: int, line: str) -> Example:
    try:
        row = json.loads(line)
        example = Example(row["domain"], row["prompt"], row["response"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"{path}:{number}: not a JSON object with domain, prompt and response ({error})") from error
    if example.domain not in DOMAINS:
        raise CorpusError(f"{path}:{number}: domain {example.domain!r} is not one of {', '.join(DOMAINS)}")
    return example


def by_domain(examples: Sequence[Example]) -> dict[str, list[Example]]:
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.domain, []).append(example)
    return groups


def encode(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> list[NDArray[np.int64]]:
    """Each example as `<s> prompt <sep> response </s>`, the form that the server completes."""
    prompts = tokenizer([example.prompt for example in examples])["input_ids"]
    responses = tokenizer([example.response for example in examples], add_special_tokens=False)["input_ids"]
    end = [tokenizer.eos_token_id]
    return [
        np.asarray(prompt + response + end, dtype=np.int64) for prompt, response in zip(prompts, responses, strict=True)
    ]


class PackedStream:
    """An endless stream of rows of one domain: documents reshuffled each pass, concatenated, cut at `row_length`."""

    def __init__(self, documents: Sequence[NDArray[np.int64]], row_length: int, seed: int) -> None:
        self.num_tokens = sum(len(document) for document in documents)
        self._rows = self._cut(documents, row_length, np.random.default_rng(seed))

    def next_row(self) -> NDArray[np.int64]:
        """[row_length] token ids."""
        return next(self._rows)

    @staticmethod
    def _cut(
        documents: Sequence[NDArray[np.int64]], row_length: int, rng: np.random.Generator
    ) -> Iterator[NDArray[np.int64]]:
        buffer = np.empty(0, dtype=np.int64)
        while True:
            shuffled = np.concatenate([documents[i] for i in rng.permutation(len(documents))])
            buffer = np.concatenate([buffer, shuffled])
            whole = len(buffer) // row_length
            yield from buffer[: whole * row_length].reshape(whole, row_length)
            buffer = buffer[whole * row_length :]


class MixedBatches:
    """Batches over domains, each in proportion to the square root of its size, so that small domains are heard."""

    def __init__(self, streams: dict[str, PackedStream], num_rows: int, seed: int) -> None:
        self._streams = list(streams.values())
        sizes = np.sqrt([stream.num_tokens for stream in self._streams])
        self._shares = sizes / sizes.sum()
        self._num_rows = num_rows
        self._rng = np.random.default_rng(seed)

    def next_batch(self) -> NDArray[np.int64]:
        """[num_rows, row_length] token ids."""
        chosen = self._rng.choice(len(self._streams), size=self._num_rows, p=self._shares)
        return np.stack([self._streams[i].next_row() for i in chosen])
