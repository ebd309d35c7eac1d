"""The repository's own prompts, ten a domain."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROMPTS = Path(__file__).parent / "prompts"
DOMAINS = tuple(sorted(path.stem for path in PROMPTS.glob("*.jsonl")))
MIXED = "mixed"
TYPICAL_ANSWER = 128  # tokens; the median answer of the Azure conversation trace of 2023 has 129


@dataclass(frozen=True)
class Prompt:
    domain: str
    text: str


def load_prompts(domain: str, directory: Path = PROMPTS) -> list[Prompt]:
    """In the order of the file; raises FileNotFoundError for an unknown domain."""
    lines = (directory / f"{domain}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    return [Prompt(row["domain"], row["prompt"]) for row in rows]


def mixed_prompts() -> list[Prompt]:
    """Every domain's prompts, taken in turn."""
    columns = [load_prompts(domain) for domain in DOMAINS]
    return [prompt for row in zip(*columns, strict=True) for prompt in row]


def prompts_of(domain: str, count: int) -> list[Prompt]:
    """`count` prompts of one domain, or of all in turn where `domain` is MIXED."""
    return take(mixed_prompts() if domain == MIXED else load_prompts(domain), count)


def take(available: Sequence[Prompt], count: int) -> list[Prompt]:
    """The first `count` prompts, again from the first where they run out."""
    return [available[index % len(available)] for index in range(count)]
