"""Tiny random checkpoints of every family, made here; nothing is downloaded."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from cospec.engine.checkpoints import load_weights
from cospec.engine.drafter import DrafterEngine
from cospec.engine.language_model import LanguageModel
from cospec.engine.sessions import SessionTable
from cospec.engine.verifier import VerifierEngine
from cospec.processor import multiplies_in_tiles
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

VOCAB = 97
SHAPE = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "eos_token_id": 1,
    "initializer_range": 0.3,  # far from uniform, so that errors show
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
    "rope_theta": 10000.0,
}
FAMILIES: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "llama with wide heads": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, head_dim=64)),
    "llama tied, scaled RoPE": lambda: LlamaForCausalLM(
        LlamaConfig(**SHAPE, tie_word_embeddings=True, rope_parameters=LLAMA3_ROPE)
    ),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SHAPE, head_dim=16, sliding_window=None)),
    "mistral with a window": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=8)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=16)),
}
Directory = Callable[[str], Path]

needs_tiles = pytest.mark.skipif(
    not multiplies_in_tiles(), reason="this processor has neither AMX nor AVX-512 BF16, and the engine does without"
)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Directory:
    """Family name -> a directory in Hugging Face format."""
    made: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in made:
            torch.manual_seed(len(family))
            model = FAMILIES[family]()
            for name, parameter in model.named_parameters():
                if name.endswith(("bias", "norm.weight")):  # else these are all 0 or 1 and prove nothing
                    torch.nn.init.normal_(parameter, 1.0, 0.3)
            made[family] = tmp_path_factory.mktemp("weights")
            model.save_pretrained(made[family])
        return made[family]

    return make


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def load(
    directory: Path, num_slots: int = 8, max_length: int = 200, dtype: torch.dtype = torch.float32
) -> LanguageModel:
    weights = load_weights(directory, dtype, torch.device("cpu"), max_length)
    return LanguageModel(weights, num_slots, max_length)


def verifier_engine(directory: Path, num_slots: int = 8, clock: Clock | None = None, chunk: int = 16) -> VerifierEngine:
    return VerifierEngine(load(directory, num_slots), SessionTable(num_slots, 10.0, clock or Clock()), chunk)


def drafter_engine(directory: Path, num_slots: int = 8) -> DrafterEngine:
    return DrafterEngine(load(directory, num_slots), SessionTable(num_slots, 10.0, Clock()), 16)


def random_tokens(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(2, VOCAB, count).astype(np.int32)
