"""Low-rank adapters on a frozen model: little trains, and a saved model has the plain form all the same."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
from safetensors.torch import load_file, save_file
from torch import Tensor

from weighted_mtp.models.architecture import decoder_layers
from weighted_mtp.models.parts import HeadedModel

ADAPTERS = "lora.safetensors"
"""The adapters alone, beside the merged weights: what a run is resumed from."""
_BASE, _MARK = ".base_layer.", ".lora_"


def add_adapters(model: HeadedModel, rank: int, alpha: float) -> None:
    """Adapters on every linear layer of the decoder's layers and of the extra heads; all other weights freeze.

        W' = W + (alpha / rank) B A,    A [rank, in] random, B [out, rank] zero at first

    The value head and the label embedding, which are new, train on; the adapters are float32.

    Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685; peft puts them in.
    """
    from peft import LoraConfig, inject_adapter_in_model

    model.requires_grad_(False)
    for layer in (*decoder_layers(model.hf_model), *model.extra_heads):
        linear = [name for name, module in layer.named_modules() if isinstance(module, nn.Linear)]
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=linear)  # pyright: ignore[reportArgumentType]
        inject_adapter_in_model(config, layer)
    for name, parameter in model.named_parameters():
        if _MARK in name:
            parameter.data = parameter.data.float()
    for new in (model.value_head, model.label_condition):
        if isinstance(new, nn.Module):
            new.requires_grad_(True)


def has_adapters(model: HeadedModel) -> bool:
    """Whether `add_adapters` was called."""
    return any(_MARK in name for name, _ in model.named_parameters())


def merged(model: HeadedModel, state: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The state of the model without adapters that computes the same; `state` as it is where there are none.

    Sums are rounded once: to `dtype`, or to the precision of the frozen weight.
    """
    plain = {name.replace(_BASE, "."): tensor for name, tensor in state.items() if _MARK not in name}
    adapted = ((name, module) for name, module in model.named_modules() if hasattr(module, "lora_A"))
    for name, layer in adapted:
        a, b = (state[f"{name}.lora_{letter}.default.weight"].float() for letter in "AB")
        weight = plain[f"{name}.weight"]
        scaling: Any = layer.scaling
        change = scaling["default"] * (b @ a)
        plain[f"{name}.weight"] = (weight.float() + change.to(weight.device)).to(dtype or weight.dtype)
    return plain


def save_adapters(state: Mapping[str, Tensor], directory: Path) -> None:
    """Writes the adapters among the weights, where there are any."""
    adapters = {name: tensor.detach().contiguous().cpu() for name, tensor in state.items() if _MARK in name}
    if adapters:
        save_file(adapters, directory / ADAPTERS, metadata={"format": "pt"})


def load_adapters(model: HeadedModel, directory: str | PathLike[str]) -> None:
    """Takes over, in place, adapters that `save_adapters` wrote, unless they are of another rank or model."""
    path = Path(directory) / ADAPTERS
    if not path.is_file():
        raise ValueError(f"{path} is not there: this run trains adapters, and the checkpoint holds none")
    stored = load_file(path)
    adapters = {name: tensor for name, tensor in model.state_dict().items() if _MARK in name}
    for name, tensor in adapters.items():
        if name not in stored or stored[name].shape != tensor.shape:
            raise ValueError(f"{path} holds other adapters: {name} is {list(tensor.shape)} here")
    for name, tensor in adapters.items():
        tensor.copy_(stored[name])
