"""A decoder's matrices as our forward reads them; `checkpoints.py` fills them."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn


class WeightsError(ValueError):
    """Weights that are missing, damaged or of a family that we do not know; the message names the path."""


def require_checkpoint(directory: Path) -> None:
    """Raises `WeightsError` where there is none."""
    if not (directory / "config.json").is_file():
        raise WeightsError(f"{directory}: no weights here: config.json is missing")


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


class Described(Protocol):
    """What is to be known of weights where they are used."""

    @property
    def architecture(self) -> Architecture: ...

    @property
    def dtype(self) -> torch.dtype:
        """Of the cache."""

    @property
    def device(self) -> torch.device: ...


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

    @property
    def dtype(self) -> torch.dtype:
        return self.embedding.dtype

    @property
    def device(self) -> torch.device:
        return self.embedding.device


def replace_linears(weights: Weights, replace: Callable[[nn.Linear], nn.Module | None]) -> Weights:
    """A copy with other modules in the place of its matrices, where `replace` gives one."""
    replaced = copy.deepcopy(weights)
    for module in list(replaced.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear) and (other := replace(child)) is not None:
                setattr(module, name, other)
    return replaced


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
