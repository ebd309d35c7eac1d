"""Any Hugging Face checkpoint of the Llama, Qwen2, Qwen3 or Mistral family, as the matrices of our forward.

transformers takes seconds to import: what serves a compiled forward does without it, and without this module.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from cospec.config import ModelSettings
from cospec.engine.weights import Architecture, Weights, WeightsError, require_checkpoint

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


def load_with(settings: ModelSettings, directory: Path, device: torch.device) -> Weights:
    """As the settings say. Raises `WeightsError`."""
    dtype, head_dtype = getattr(torch, settings.dtype), getattr(torch, settings.head_dtype)
    return load_weights(directory, dtype, device, settings.max_length, head_dtype)


def load_weights(
    directory: Path,
    dtype: torch.dtype,
    device: torch.device,
    num_positions: int,
    head_dtype: torch.dtype = torch.float32,
) -> Weights:
    """Raises `WeightsError`."""
    model = load_checkpoint(directory, dtype).to(device)
    return _convert(model, model.config, num_positions, head_dtype)


def load_checkpoint(directory: Path, dtype: torch.dtype) -> Any:
    """transformers' own model. Raises `WeightsError`."""
    require_checkpoint(directory)
    try:
        config = AutoConfig.from_pretrained(directory, local_files_only=True)
        _check_family(directory, config)
        return AutoModelForCausalLM.from_pretrained(directory, local_files_only=True, dtype=dtype)
    except WeightsError:
        raise
    except Exception as error:  # every library below has its own exceptions for a damaged file
        raise WeightsError(f"{directory}: weights cannot be loaded: {' '.join(str(error).split())[:200]}") from error


def _check_family(directory: Path, config: PretrainedConfig) -> None:
    if config.model_type not in FAMILIES:
        raise WeightsError(f"{directory}: model type {config.model_type!r} is not one of {', '.join(FAMILIES)}")


def _convert(model: Any, config: PretrainedConfig, num_positions: int, head_dtype: torch.dtype) -> Weights:
    state: Mapping[str, Tensor] = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    rotary_tables = _rotary_tables(model, num_positions, state["model.embed_tokens.weight"])
    return Weights(describe(config, state), state, rotary_tables, head_dtype).eval()


def describe(config: PretrainedConfig, state: Mapping[str, Tensor]) -> Architecture:
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    ends = config.eos_token_id
    window = getattr(config, "sliding_window", None)
    if getattr(config, "use_sliding_window", True) is False:
        window = None
    return Architecture(
        num_layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        query_heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=head_dim,
        vocab_size=state["model.embed_tokens.weight"].shape[0],
        norm_epsilon=config.rms_norm_eps,
        max_positions=config.max_position_embeddings,
        sliding_window=window,
        end_tokens=tuple(ends) if isinstance(ends, list) else () if ends is None else (ends,),
    )


def _rotary_tables(model: Any, num_positions: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """transformers' own rotary module, so that every kind of RoPE scaling is as trained. The first half of the sines is
    negated: it meets the second half of a head (`Forward._project`)."""
    positions = torch.arange(num_positions, device=like.device)[None]
    cosines, sines = model.model.rotary_emb(like[:1], positions)
    first, second = sines[0].chunk(2, dim=-1)
    return cosines[0].to(like.dtype), torch.cat([-first, second], dim=-1).to(like.dtype)
