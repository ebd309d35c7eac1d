"""Any Hugging Face checkpoint of the Llama, Qwen2, Qwen3 or Mistral family, as the matrices of our forward."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from cospec.engine.linear import Linear, prepare_linear

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


class WeightsError(ValueError):
    """Weights that are missing, damaged or of a family that we do not know; the message names the path."""


@dataclass(frozen=True)
class Layer:
    attention_norm: Tensor
    qkv: Linear
    query_key_norm: Tensor | None  # [query heads + kv heads, head_dim] (Qwen3)
    output: Linear
    mlp_norm: Tensor
    gate_up: Linear
    down: Linear


@dataclass(frozen=True)
class Architecture:
    num_layers: int
    hidden_size: int
    query_heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    norm_epsilon: float
    max_positions: int
    sliding_window: int | None
    end_tokens: tuple[int, ...]


@dataclass(frozen=True)
class Weights:
    architecture: Architecture
    embedding: Tensor  # [vocab, hidden]
    layers: tuple[Layer, ...]
    final_norm: Tensor
    head: Linear
    cosines: Tensor  # [positions, head_dim]
    sines: Tensor


def load_weights(directory: Path, dtype: torch.dtype, device: torch.device, num_positions: int) -> Weights:
    """Raises `WeightsError`."""
    if not (directory / "config.json").is_file():
        raise WeightsError(f"{directory}: no weights here: config.json is missing")
    try:
        config = AutoConfig.from_pretrained(directory, local_files_only=True)
        _check_family(directory, config)
        model = AutoModelForCausalLM.from_pretrained(directory, local_files_only=True, dtype=dtype).to(device)
    except WeightsError:
        raise
    except Exception as error:  # every library below has its own exceptions for a damaged file
        raise WeightsError(f"{directory}: weights cannot be loaded: {' '.join(str(error).split())[:200]}") from error
    return _convert(model, config, num_positions)


def _check_family(directory: Path, config: PretrainedConfig) -> None:
    if config.model_type not in FAMILIES:
        raise WeightsError(f"{directory}: model type {config.model_type!r} is not one of {', '.join(FAMILIES)}")


def _convert(model: Any, config: PretrainedConfig, num_positions: int) -> Weights:
    state: Mapping[str, Tensor] = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    architecture = describe(config, state)
    embedding = state["model.embed_tokens.weight"]
    cosines, sines = _rotary_tables(model, num_positions, embedding)
    return Weights(
        architecture,
        embedding,
        tuple(_layer(state, f"model.layers.{index}.", architecture) for index in range(architecture.num_layers)),
        state["model.norm.weight"],
        prepare_linear(state.get("lm_head.weight", embedding)),
        cosines,
        sines,
    )


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


def _layer(state: Mapping[str, Tensor], prefix: str, architecture: Architecture) -> Layer:
    def joined(kind: str, *names: str) -> Tensor | None:
        parts = [state.get(f"{prefix}{name}.{kind}") for name in names]
        return None if parts[0] is None else torch.cat([part for part in parts if part is not None])

    def linear(*names: str) -> Linear:
        weight = joined("weight", *names)
        assert weight is not None
        return prepare_linear(weight, joined("bias", *names))

    attention, mlp = "self_attn.", "mlp."
    return Layer(
        attention_norm=state[prefix + "input_layernorm.weight"],
        qkv=linear(*(f"{attention}{name}_proj" for name in "qkv")),
        query_key_norm=_query_key_norm(state, prefix + attention, architecture),
        output=linear(f"{attention}o_proj"),
        mlp_norm=state[prefix + "post_attention_layernorm.weight"],
        gate_up=linear(f"{mlp}gate_proj", f"{mlp}up_proj"),
        down=linear(f"{mlp}down_proj"),
    )


def _query_key_norm(state: Mapping[str, Tensor], prefix: str, architecture: Architecture) -> Tensor | None:
    query, key = state.get(f"{prefix}q_norm.weight"), state.get(f"{prefix}k_norm.weight")
    if query is None or key is None:
        return None
    return torch.cat([query.expand(architecture.query_heads, -1), key.expand(architecture.kv_heads, -1)])


def _rotary_tables(model: Any, num_positions: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """transformers' own rotary module, so that every kind of RoPE scaling is as trained. The first half of the sines is
    negated: it meets the second half of a head (`LanguageModel._attend`)."""
    positions = torch.arange(num_positions, device=like.device)[None]
    cosines, sines = model.model.rotary_emb(like[:1], positions)
    first, second = sines[0].chunk(2, dim=-1)
    return cosines[0].to(like.dtype), torch.cat([-first, second], dim=-1).to(like.dtype)
