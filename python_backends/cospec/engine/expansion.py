"""From a checkpoint, one that costs as much as a model of a chosen size and computes the same function.

Two growths leave a function as it is (Net2Net, arXiv 1511.05641): an MLP gets more inner units, which `down_proj` reads
with zeros; and a block whose `o_proj` and `down_proj` are zero adds nothing to the residual sum. All else that is new
is random, so that its arithmetic is no cheaper than a trained model's.
"""

import copy
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import AutoModelForCausalLM, PretrainedConfig

from cospec.config import SettingsError
from cospec.engine.checkpoints import load_checkpoint

DTYPE = torch.bfloat16
MOST_LAYERS = 32
WIDTH_PER_HIDDEN = 8  # few layers with wide MLPs: time goes into matrices, not into what lies between them
WIDTH_MULTIPLE = 64
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
CARD = """# A verifier of realistic cost

Made by `cospec-server expand` from a checkpoint of {source:,} parameters.
It has {parameters:,}: {layers} layers, with MLPs {width} wide.

It is for measuring what speculation brings where a verifier costs what real ones cost. It computes the function of its
source, and says what that says: the new inner units of its MLPs are read with zeros, and its new blocks add zero. The
new parameters bring cost and no skill: to serve text, take the source, which says the same {ratio:.0f} times cheaper.
"""


@dataclass(frozen=True)
class Size:
    """What the two growths change."""

    layers: int
    width: int  # inner units of an MLP


def expand(source: Path, num_parameters: int, target: Path) -> int:
    """Write to `target` a checkpoint of about `num_parameters` that computes what the one in `source` does.

    Returns how many it has. Raises `SettingsError` for a number or target that cannot be, `WeightsError` for a source
    that cannot be read.
    """
    _check_target(target, num_parameters)
    model = load_checkpoint(source, DTYPE)
    config = _with_size(model.config, _size(model, num_parameters))
    grown = _assembled(config, _grown(model, config))
    _write(grown, model.num_parameters(), source, target)
    return int(grown.num_parameters())


def _check_target(target: Path, num_parameters: int) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SettingsError(f"--out {target} exists and is not an empty directory")
    gigabytes = num_parameters * DTYPE.itemsize / 1e9
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    disk = shutil.disk_usage(next(path for path in target.absolute().parents if path.exists())).free / 1e9
    if gigabytes > min(disk, memory):
        raise SettingsError(
            f"--parameters {num_parameters:.3g} needs {gigabytes:.1f} GB, "
            f"but {target} has {disk:.1f} GB of disk and the machine {memory:.1f} GB of memory"
        )


def _size(model: Any, num_parameters: int) -> Size:
    """The nearest below; raises `SettingsError` where the source itself is larger."""
    config = model.config
    unit = 3 * config.hidden_size  # parameters of one inner unit of an MLP: gate, up, down
    own = model.num_parameters()
    if num_parameters < own:
        raise SettingsError(f"--parameters must be at least {own:,}, as many as the source has, got {num_parameters:,}")
    block = sum(parameter.numel() for parameter in model.model.layers[0].parameters()) - unit * config.intermediate_size
    budget = num_parameters - (own - config.num_hidden_layers * (block + unit * config.intermediate_size))
    usual = max(WIDTH_PER_HIDDEN * config.hidden_size, config.intermediate_size)
    layers = max(min(budget // (block + unit * usual), MOST_LAYERS), config.num_hidden_layers)
    width = (budget // layers - block) // unit
    return Size(layers, max(width // WIDTH_MULTIPLE * WIDTH_MULTIPLE, config.intermediate_size))


def _origins(num_old: int, num_new: int) -> list[int]:
    """For every new layer the old one that it is (its first appearance) or stands behind."""
    return [index * num_old // num_new for index in range(num_new)]


def _with_size(config: PretrainedConfig, size: Size) -> PretrainedConfig:
    changed = copy.deepcopy(config)
    changed.num_hidden_layers, changed.intermediate_size, changed.dtype = size.layers, size.width, DTYPE
    if getattr(config, "layer_types", None):
        changed.layer_types = [config.layer_types[origin] for origin in _origins(config.num_hidden_layers, size.layers)]
    return changed


def _grown(model: Any, config: PretrainedConfig) -> dict[str, Tensor]:
    """The state of a model of this configuration."""
    old = model.state_dict()
    random = torch.Generator().manual_seed(0)
    state = {name: tensor for name, tensor in old.items() if not name.startswith("model.layers.")}
    origins = _origins(model.config.num_hidden_layers, config.num_hidden_layers)
    for index, origin in enumerate(tqdm(origins, desc="growing", unit="layer")):
        is_old = origin not in origins[:index]
        for name, tensor in _layer(old, origin):
            wide = _widened(name, tensor, config.intermediate_size, random)
            state[f"model.layers.{index}.{name}"] = wide if is_old else _inserted(name, wide, random)
    return state


def _layer(state: Mapping[str, Tensor], index: int) -> Iterator[tuple[str, Tensor]]:
    prefix = f"model.layers.{index}."
    return ((name.removeprefix(prefix), tensor) for name, tensor in state.items() if name.startswith(prefix))


def _widened(name: str, tensor: Tensor, width: int, random: torch.Generator) -> Tensor:
    """An MLP's tensor with further inner units."""
    if name.startswith(("mlp.gate_proj", "mlp.up_proj")):
        return torch.cat([tensor, _like(tensor, (width - tensor.shape[0], *tensor.shape[1:]), random)])
    if name == "mlp.down_proj.weight":
        return torch.cat([tensor, tensor.new_zeros(tensor.shape[0], width - tensor.shape[1])], dim=1)
    return tensor


def _inserted(name: str, tensor: Tensor, random: torch.Generator) -> Tensor:
    """The same tensor of a block that adds nothing."""
    if name.startswith(("self_attn.o_proj", "mlp.down_proj")):
        return torch.zeros_like(tensor)
    return tensor.clone() if "norm" in name else _like(tensor, tuple(tensor.shape), random)


def _like(tensor: Tensor, shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    """Normal, as far spread as `tensor`."""
    return (torch.randn(shape, generator=random) * tensor.float().std()).to(tensor.dtype)


def _assembled(config: PretrainedConfig, state: dict[str, Tensor]) -> Any:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=DTYPE)
    model.load_state_dict(state, assign=True)
    model.tie_weights()
    return model


def _write(model: Any, source_parameters: int, source: Path, target: Path) -> None:
    """All or nothing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        unfinished = Path(scratch) / target.name
        model.save_pretrained(unfinished)
        for name in TOKENIZER_FILES:
            if (source / name).is_file():
                shutil.copy(source / name, unfinished)
        (unfinished / "MODEL_CARD.md").write_text(_card(model, source_parameters), encoding="utf-8")
        unfinished.rename(target)


def _card(model: Any, source_parameters: int) -> str:
    return CARD.format(
        source=source_parameters,
        parameters=model.num_parameters(),
        layers=model.config.num_hidden_layers,
        width=model.config.intermediate_size,
        ratio=model.num_parameters() / source_parameters,
    )
