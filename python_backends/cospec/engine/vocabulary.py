"""A checkpoint's tokenizer as the orchestrator's `Vocabulary`."""

from collections.abc import Mapping
from pathlib import Path

from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from cospec.speculation.vocabulary import Vocabulary


def load_vocabulary(weights: Path) -> Vocabulary:
    """Raises OSError or ValueError when the tokenizer files are missing or damaged."""
    tokenizer = AutoTokenizer.from_pretrained(weights, local_files_only=True)
    fast = tokenizer.backend_tokenizer  # its decode costs a tenth of the wrapper's, and runs once per token
    return Vocabulary(
        encode=lambda text: list(tokenizer(text)["input_ids"]),
        decode=lambda tokens: str(fast.decode(list(tokens), skip_special_tokens=True)),
        end_tokens=_end_tokens(tokenizer, weights),
        size=AutoConfig.from_pretrained(weights, local_files_only=True).vocab_size,
    )


def _end_tokens(tokenizer: PreTrainedTokenizerBase, weights: Path) -> Mapping[int, str]:
    named = AutoConfig.from_pretrained(weights, local_files_only=True).eos_token_id
    ids = {named} if isinstance(named, int) else set(named or ())
    if tokenizer.eos_token_id is not None:
        ids.add(tokenizer.eos_token_id)
    return {token: str(tokenizer.convert_ids_to_tokens(token)) for token in sorted(ids)}
