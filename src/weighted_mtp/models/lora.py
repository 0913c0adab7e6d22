"""Low-rank adapters on a frozen model: little trains, and a saved model has the plain form all the same."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
from safetensors.torch import load_file, save_file
from torch import Tensor

from weighted_mtp.models.architecture import decoder_layers
from weighted_mtp.models.parts import HeadedModel, laid_as

ADAPTER = "adapter"
"""Folder of the adapters alone, beside the merged weights: peft's own, and what a run is resumed from."""
DECODERS, HEADS = "adapter_model.safetensors", "extra_heads.safetensors"
"""In it: what peft reads, and the adapters of extra heads, of which it knows nothing."""
ALL_LINEAR = "all-linear"
MARK, _BASE = ".lora_", ".base_layer."
_OURS, _PEFTS = "hf_model.", "base_model.model."


def add_adapters(
    model: HeadedModel,
    rank: int,
    alpha: float,
    targets: Sequence[str] | None = None,
    dropout: float = 0.0,
    base: str | None = None,
) -> None:
    """Adapters on linear layers of the decoder and of the extra heads; all other weights freeze.

        W' x = W x + (alpha / rank) B A dropout(x),    A [rank, in] random, B [out, rank] zero at first

    The value head, the label embedding and what sequential heads have beside their layers are new and train on; the
    adapters are float32. `targets` are ends of layers' names as in peft, or "all-linear": every one but the
    unembedding; None: those of the decoder's layers.
    `base` is what the adapters' own config calls the model; None: where it was read.

    Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685; peft puts them in.
    """
    from peft import LoraConfig, inject_adapter_in_model

    model.requires_grad_(False)
    ends = _ends(model.hf_model, targets)
    modules: Any = dict(model.hf_model.named_modules())
    full = max(min(modules[name].in_features, modules[name].out_features) for name in _linear(model.hf_model, ends))
    if rank > full:
        raise ValueError(f"lora_rank is {rank}, and the layers' weights have rank {full} at most: give that or less")
    for module in (model.hf_model, *model.extra_heads):
        if _linear(module, ends):
            config = LoraConfig(
                r=rank,
                lora_alpha=alpha,  # pyright: ignore[reportArgumentType]
                lora_dropout=dropout,
                target_modules=ends,
                task_type="CAUSAL_LM",
                base_model_name_or_path=base or model.hf_model.name_or_path,
            )
            inject_adapter_in_model(config, module)
    for name, parameter in model.named_parameters():
        if MARK in name:
            parameter.data = parameter.data.float()
    new = (part.parameters() for part in (model.value_head, model.label_condition) if isinstance(part, nn.Module))
    for parameter in chain(model.extra_heads.new_parameters(), *new):
        parameter.requires_grad_(True)


def _ends(hf_model: Any, targets: Sequence[str] | None) -> list[str]:
    """Ends of names by which peft finds the layers that get adapters."""
    if targets is None:
        linear = [name for layer in decoder_layers(hf_model) for name in _linear(layer)]
    elif targets == ALL_LINEAR:
        linear = _linear(hf_model)
    else:
        nowhere = [end for end in targets if not _linear(hf_model, [end])]
        if nowhere:
            there = sorted({name.rpartition(".")[2] for name in _linear(hf_model)})
            raise ValueError(f"lora_target_modules has {nowhere[0]!r}, and the linear layers are {', '.join(there)}")
        return list(targets)
    return sorted({name.rpartition(".")[2] for name in linear})


def _linear(module: nn.Module, ends: Sequence[str] | None = None) -> list[str]:
    """Names of the linear layers that end so, but for the unembedding, which the loss reads past any adapter."""
    head = module.get_output_embeddings() if hasattr(module, "get_output_embeddings") else None  # pyright: ignore
    names = [name for name, part in module.named_modules() if isinstance(part, nn.Linear) and part is not head]
    return [name for name in names if ends is None or any(f".{name}".endswith(f".{end}") for end in ends)]


def has_adapters(model: HeadedModel) -> bool:
    """Whether `add_adapters` was called."""
    return any(MARK in name for name, _ in model.named_parameters())


def merged(model: HeadedModel, state: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The state of the model without adapters that computes the same; `state` as it is where there are none.

    Sums are rounded once: to `dtype`, or to the precision of the frozen weight, from 4 bits to that it came from.
    """
    plain = {name.replace(_BASE, "."): tensor for name, tensor in state.items() if MARK not in name}
    for name, weight in _dequantized(model):
        plain = {key: x for key, x in plain.items() if not key.startswith(f"{name}.")} | {name: weight}
    adapted = ((name, module) for name, module in model.named_modules() if hasattr(module, "lora_A"))
    for name, layer in adapted:
        a, b = (state[f"{name}.lora_{letter}.default.weight"].float() for letter in "AB")
        weight = plain[f"{name}.weight"]
        scaling: Any = layer.scaling
        change = scaling["default"] * (b @ a)
        plain[f"{name}.weight"] = (weight.float() + change.to(weight.device)).to(dtype or weight.dtype)
    return plain


def _dequantized(model: HeadedModel) -> Iterator[tuple[str, Tensor]]:
    """Names and values of the weights that are held in 4 bits, as they are computed with."""
    for name, module in model.named_modules():
        weight: Any = getattr(module, "weight", None)
        if getattr(weight, "quant_state", None) is not None:
            from bitsandbytes.functional import dequantize_4bit  # pyright: ignore[reportMissingImports]

            yield f"{name}.weight".replace(_BASE, "."), dequantize_4bit(weight.data, weight.quant_state)


def save_adapters(model: HeadedModel, state: Mapping[str, Tensor], directory: Path) -> None:
    """Writes the adapters among the weights, where there are any, as peft does."""
    adapters = {name: tensor.detach().contiguous().cpu() for name, tensor in state.items() if MARK in name}
    if not adapters:
        return
    folder = directory / ADAPTER
    model.hf_model.peft_config["default"].save_pretrained(folder)
    for file, tensors in _files(adapters).items():
        save_file(tensors, folder / file, metadata={"format": "pt"})


def _files(adapters: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The adapters by file, under their names there."""
    decoders = {_PEFTS + n.removeprefix(_OURS).replace(".default", ""): x for n, x in adapters.items() if _OURS in n}
    heads = {name: tensor for name, tensor in adapters.items() if _OURS not in name}
    return {DECODERS: decoders} | ({HEADS: heads} if heads else {})


def load_adapters(model: HeadedModel, directory: str | PathLike[str]) -> None:
    """Takes over, in place, adapters that `save_adapters` wrote, unless they are of another rank or model."""
    own = {name: tensor for name, tensor in model.state_dict().items() if MARK in name}
    for file, tensors in _files(own).items():
        path = Path(directory) / ADAPTER / file
        if not path.is_file():
            raise ValueError(f"{path} is not there: this run trains adapters, and the checkpoint holds none")
        stored = load_file(path)
        for name in {**tensors, **stored}:
            if name not in stored or name not in tensors or stored[name].shape != tensors[name].shape:
                raise ValueError(f"{path} holds other adapters: {name} is not the same here")
        for name, tensor in tensors.items():
            tensor.copy_(laid_as(tensor, stored[name]))
