"""The repository's own prompts, ten a domain."""

import json
from dataclasses import dataclass
from pathlib import Path

PROMPTS = Path(__file__).parent / "prompts"
DOMAINS = tuple(sorted(path.stem for path in PROMPTS.glob("*.jsonl")))


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
