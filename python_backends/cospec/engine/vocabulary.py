"""A checkpoint's tokenizer as the orchestrator's `Vocabulary`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from cospec.speculation.vocabulary import Vocabulary


def load_vocabulary(weights: Path) -> Vocabulary:
    """Raises OSError, KeyError or ValueError when its files are missing or damaged."""
    # It reads `tokenizer.json` as it stands; `AutoTokenizer` would import PyTorch and much more, for seconds.
    tokenizer = PreTrainedTokenizerFast.from_pretrained(weights, local_files_only=True)
    fast = tokenizer.backend_tokenizer  # its decode costs a tenth of the wrapper's, and runs once per token
    config = json.loads((weights / "config.json").read_text(encoding="utf-8"))
    return Vocabulary(
        encode=lambda text: list(tokenizer(text)["input_ids"]),
        decode=lambda tokens: str(fast.decode(list(tokens), skip_special_tokens=True)),
        end_tokens=_end_tokens(tokenizer, config),
        size=config["vocab_size"],
    )


def _end_tokens(tokenizer: PreTrainedTokenizerFast, config: Mapping[str, Any]) -> Mapping[int, str]:
    named = config.get("eos_token_id")
    ids = {named} if isinstance(named, int) else set(named or ())
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    return {token: str(tokenizer.convert_ids_to_tokens(token)) for token in sorted(ids)}
