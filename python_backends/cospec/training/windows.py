"""Pieces of text whose domain is known, as the router meets them: after a prompt, in mid-answer, after a switch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from cospec.speculation.router import WINDOW
from cospec.training.corpus import Example, by_domain


@dataclass(frozen=True)
class Document:
    """Token ids; the prompt with its special tokens."""

    prompt: list[int]
    response: list[int]


@dataclass(frozen=True)
class Window:
    domain: str
    tokens: list[int]


Documents = Mapping[str, Sequence[Document]]


def tokenize(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> Documents:
    return {domain: _documents(group, tokenizer) for domain, group in sorted(by_domain(examples).items())}


def after_prompts(documents: Documents, length: int = WINDOW) -> list[Window]:
    """The end of each prompt and the first token of its response: what the router first sees of a request."""
    return [
        Window(domain, (document.prompt + document.response[:1])[-length:])
        for domain, group in documents.items()
        for document in group
    ]


def within_responses(documents: Documents, rng: np.random.Generator) -> list[Window]:
    """Of each response that is long enough, a piece from anywhere."""
    return [Window(domain, _cut(response, rng)) for domain, response in _long_responses(documents)]


def after_switches(documents: Documents, num_tokens: int, rng: np.random.Generator) -> list[Window]:
    """The end of one domain's response, then the first `num_tokens` of another's, whose domain is the window's.

    None where only one domain has responses that are long enough.
    """
    responses = _long_responses(documents)
    windows = []
    for domain, response in responses:
        others = [other for name, other in responses if name != domain]
        if others:
            before = others[rng.integers(len(others))][-WINDOW:]
            windows.append(Window(domain, (before + response[:num_tokens])[-WINDOW:]))
    return windows


def _documents(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> list[Document]:
    prompts = tokenizer([example.prompt for example in examples])["input_ids"]
    responses = tokenizer([example.response for example in examples], add_special_tokens=False)["input_ids"]
    return [Document(prompt, response) for prompt, response in zip(prompts, responses, strict=True)]


def _long_responses(documents: Documents) -> list[tuple[str, list[int]]]:
    """(domain, response)"""
    return [
        (domain, document.response)
        for domain, group in documents.items()
        for document in group
        if len(document.response) >= WINDOW
    ]


def _cut(tokens: list[int], rng: np.random.Generator) -> list[int]:
    start = int(rng.integers(len(tokens) - WINDOW + 1))
    return tokens[start : start + WINDOW]
