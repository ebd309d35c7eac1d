"""What the orchestrator needs of a tokenizer, as plain functions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cospec.speculation.text_stream import Decode


@dataclass(frozen=True)
class Vocabulary:
    encode: Callable[[str], list[int]]  # with the special tokens of a prompt
    decode: Decode  # without special tokens
    end_tokens: Mapping[int, str]  # EOS ids and their texts
    size: int = 2**31  # token ids that the verifier knows: those below it
