"""Any Hugging Face checkpoint of the Llama, Qwen2, Qwen3 or Mistral family, as the matrices of our forward."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from cospec.config import ModelSettings

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


class WeightsError(ValueError):
    """Weights that are missing, damaged or of a family that we do not know; the message names the path."""


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


class Layer(nn.Module):
    """One decoder layer; matrices that read the same input are joined, so that they are one product."""

    def __init__(self, state: Mapping[str, Tensor], prefix: str, architecture: Architecture) -> None:
        super().__init__()
        attention, mlp = f"{prefix}self_attn.", f"{prefix}mlp."
        self.attention_norm = _frozen(state[f"{prefix}input_layernorm.weight"])
        self.qkv = _linear(state, *(f"{attention}{name}_proj" for name in "qkv"))
        self.query_key_norm = _query_key_norm(state, attention, architecture)
        self.output = _linear(state, f"{attention}o_proj")
        self.mlp_norm = _frozen(state[f"{prefix}post_attention_layernorm.weight"])
        self.gate_up = _linear(state, f"{mlp}gate_proj", f"{mlp}up_proj")
        self.down = _linear(state, f"{mlp}down_proj")


class Weights(nn.Module):
    """All that a forward needs to know of a checkpoint."""

    cosines: Tensor  # [positions, head_dim]
    sines: Tensor

    def __init__(
        self,
        architecture: Architecture,
        state: Mapping[str, Tensor],
        rotary_tables: tuple[Tensor, Tensor],
        head_dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.embedding = _frozen(state["model.embed_tokens.weight"])  # [vocab, hidden]
        self.layers = nn.ModuleList(
            Layer(state, f"model.layers.{index}.", architecture) for index in range(architecture.num_layers)
        )
        self.final_norm = _frozen(state["model.norm.weight"].to(head_dtype))
        self.head = _linear(state, "lm_head" if "lm_head.weight" in state else "model.embed_tokens").to(head_dtype)
        self.register_buffer("cosines", rotary_tables[0])
        self.register_buffer("sines", rotary_tables[1])


def replace_linears(weights: Weights, replace: Callable[[nn.Linear], nn.Module | None]) -> Weights:
    """A copy with other modules in the place of its matrices, where `replace` gives one."""
    replaced = copy.deepcopy(weights)
    for module in list(replaced.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear) and (other := replace(child)) is not None:
                setattr(module, name, other)
    return replaced


def load_with(settings: ModelSettings, directory: Path, device: torch.device) -> Weights:
    """As the settings say, which from now on also give this process its number of threads. Raises `WeightsError`."""
    torch.set_num_threads(settings.num_threads)
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
    if not (directory / "config.json").is_file():
        raise WeightsError(f"{directory}: no weights here: config.json is missing")
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


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)


def _linear(state: Mapping[str, Tensor], *names: str) -> nn.Linear:
    """The matrices of that name, one below the other."""
    weight = torch.cat([state[f"{name}.weight"] for name in names])
    biases = [state[f"{name}.bias"] for name in names if f"{name}.bias" in state]
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bool(biases), device="meta")
    linear.weight = _frozen(weight)
    if biases:
        linear.bias = _frozen(torch.cat(biases))
    return linear


def _query_key_norm(state: Mapping[str, Tensor], prefix: str, architecture: Architecture) -> nn.Parameter | None:
    """[query heads + kv heads, head_dim] (Qwen3)."""
    query, key = state.get(f"{prefix}q_norm.weight"), state.get(f"{prefix}k_norm.weight")
    if query is None or key is None:
        return None
    return _frozen(torch.cat([query.expand(architecture.query_heads, -1), key.expand(architecture.kv_heads, -1)]))


def _rotary_tables(model: Any, num_positions: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """transformers' own rotary module, so that every kind of RoPE scaling is as trained. The first half of the sines is
    negated: it meets the second half of a head (`Forward._project`)."""
    positions = torch.arange(num_positions, device=like.device)[None]
    cosines, sines = model.model.rotary_emb(like[:1], positions)
    first, second = sines[0].chunk(2, dim=-1)
    return cosines[0].to(like.dtype), torch.cat([-first, second], dim=-1).to(like.dtype)
