"""An MTPModel as one Hugging Face directory: the plain model's files, and ours beside them."""

import logging
import os
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self

import torch
import torch.nn as nn
from torch import Tensor
from torch.distributed.tensor import DTensor

from weighted_mtp.files import staged_save
from weighted_mtp.models.architecture import read_causal_lm, settle_4_bits
from weighted_mtp.models.critic_spec import CriticSpec
from weighted_mtp.models.lora import MARK, has_adapters, load_adapters, merged, save_adapters
from weighted_mtp.models.native_layers import carry_over
from weighted_mtp.models.parts import HeadedModel, laid_as
from weighted_mtp.models.saved_heads import (
    OWN_PREFIXES,
    Heads,
    SavedHeads,
    read_settings,
    read_tensors,
    restore_heads,
    write_heads,
)
from weighted_mtp.models.sources import Source, resolve
from weighted_mtp.models.value_head import ValueLink

logger = logging.getLogger(__name__)

FLOAT32_ALWAYS = OWN_PREFIXES[1:]


class StoredModel(HeadedModel):
    """A model that is read from a directory and written into one."""

    @classmethod
    def from_pretrained(
        cls,
        path: "str | PathLike[str] | nn.Module",
        n_future: int | None = None,
        value_head: bool | None = None,
        value_link: ValueLink | None = None,
        value_hidden: int | None = None,
        critic: CriticSpec | Literal[False] | None = None,
        *,
        dtype: str | torch.dtype = "auto",
        attn_implementation: str | None = None,
        load_in_4bit: bool = False,
        heads: Heads | None = None,
    ) -> Self:
        """A model from a file or directory; nothing is downloaded unless the path says `hub:`.

        Args:
            path: a Hugging Face directory; one that `save_pretrained` wrote; a `.gguf` file;
                `package:NAME/FILE`, a file or directory inside an installed Python package; `hub:OWNER/NAME`. Or a
                model in memory, plain or an `MTPModel`, which is wrapped, not copied, as it is.
            n_future: None for the saved number (1 where nothing was saved). Heads beyond those saved start
                as copies of the last layer; saved heads beyond n_future are dropped with a warning.
            value_head: None for as saved (False where nothing was saved); False drops one with a warning.
            value_link: None for as saved ("sigmoid" where nothing was saved).
            value_hidden: None for as saved (0 where nothing was saved).
            critic: None for as saved (none where nothing was saved); False drops a saved one with a warning.
            dtype: "auto" (as stored), "float32", "bfloat16", "float16", or a torch dtype. The value head
                is float32 always.
            attn_implementation: in transformers' names; None: the model's own choice.
            load_in_4bit: hold the decoder's linear layers in 4 bits (bitsandbytes), to be trained by adapters.
            heads: a name of `HEADS` (see `MTPModel`); None: as saved ("parallel" where nothing was saved).

        Raises:
            ValueError: nothing there, incomplete weights, an unsupported model, or a link or width of the
                value head that contradicts the saved one.
        """
        if isinstance(path, nn.Module):
            if dtype != "auto" or load_in_4bit:
                raise ValueError(f"this {type(path).__name__} is loaded already: leave dtype and load_in_4bit out")
            source, hf_model, saved, saved_critic, stored = _in_memory(path)
            if attn_implementation is not None:
                hf_model.set_attn_implementation(attn_implementation)
        else:
            source = resolve(path)
            hf_model = read_causal_lm(source, dtype, attn_implementation, load_in_4bit)
            saved, saved_critic = read_settings(source, hf_model.config)
            stored = partial(read_tensors, source)
        if saved.value_link is not None and value_link not in (None, saved.value_link):
            raise ValueError(
                f"the value head in {source} was trained with value_link {saved.value_link!r}, got {value_link!r}: "
                f"give value_link: {saved.value_link}"
            )
        count = saved.n_future if n_future is None else n_future
        if min(count, saved.n_future) > 1 and heads not in (None, saved.heads):
            raise ValueError(
                f"{source} holds {saved.heads} heads, got heads {heads!r}: leave it out, or take the model without "
                "them (wmtp convert drop-heads)"
            )
        spec = saved_critic if critic is None else critic or None
        width = saved.value_hidden if saved.value_head and saved.is_of(spec) else value_hidden or 0
        if value_hidden not in (None, width):
            raise ValueError(
                f"the value head in {source} was trained with value_hidden {width}, got {value_hidden}: leave it out"
            )
        heads = heads or saved.heads
        model = cls(
            hf_model,
            n_future=count,
            value_head=saved.value_head if value_head is None else value_head,
            value_link=value_link or saved.value_link or "sigmoid",
            value_hidden=width,
            critic=spec,
            heads=path.extra_heads if isinstance(path, HeadedModel) and heads == "native" else heads,
        )
        if saved.n_future > model.n_future:
            warnings.warn(f"{source} holds {saved.n_future} heads; kept {model.n_future}", stacklevel=2)
        if saved.value_head and model.value_head is None:
            warnings.warn(f"{source} holds a value head, which was dropped", stacklevel=2)
        if saved.critic and model.critic is None:
            warnings.warn(f"{source} holds a {saved.critic['kind']} critic, taken as a plain model", stacklevel=2)
        if saved.n_future > 1 or saved.value_head or saved.critic:
            restore_heads(model, source, stored(), saved)
        return model

    def save_pretrained(
        self,
        path: str | PathLike[str],
        state_dict: Mapping[str, Tensor] | None = None,
        dtype: torch.dtype | None = None,
        max_shard_size: str | None = None,
    ) -> None:
        """Write one Hugging Face directory that plain `AutoModelForCausalLM` loads too.

        What is not of the plain model lies beside it: weighted_mtp.safetensors holds `extra_heads.*`, `value_head.*`
        and `label_condition.*`, weighted_mtp.json says which (see `SavedHeads`). Call it on one process.

        Args:
            path: directory, made if missing.
            state_dict: this model's whole state dict where the model itself holds only shards of it (FSDP).
            dtype: precision of what is written, but for value head and label embedding; None: as it is.
            max_shard_size: of a file of the plain model, such as "5GB"; None: transformers' own.
        """
        directory = Path(os.fspath(path))
        state = self.state_dict() if state_dict is None else state_dict
        if any(isinstance(tensor, DTensor) for tensor in state.values()):
            raise ValueError(
                "these weights are sharded over processes: gather them on every process with "
                "get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True)), "
                "then pass the result as state_dict on one"
            )
        first: dict[int, str] = {}
        named = self.named_parameters(remove_duplicate=False)  # gathered shards of tied weights are two tensors
        tied = {name: first.setdefault(id(parameter), name) for name, parameter in named}
        whole = merged(self, {name: state[tied.get(name, name)] for name in state}, dtype)
        if dtype is not None and _fits(dtype, whole):
            whole = _cast_to(dtype, whole)
        else:
            dtype = None
        plain = {k.removeprefix("hf_model."): v for k, v in whole.items() if k.startswith("hf_model.")}
        native = self.extra_heads.as_stored(self.hf_model, whole)
        beside = OWN_PREFIXES[1:] if native else OWN_PREFIXES
        own = {k: v.detach().contiguous().cpu() for k, v in whole.items() if k.startswith(beside)}
        # Staged, so that weights of an earlier model go: an old index beside a new file, or old shards, would be read.
        with staged_save(directory) as staged:
            size: Any = {} if max_shard_size is None else {"max_shard_size": max_shard_size}
            self.hf_model.save_pretrained(staged, state_dict=plain, **size)
            carry_over(self.hf_model, staged, native)
            save_adapters(self, state, staged)
            write_heads(self, staged, own, dtype)

    def load_weights(self, path: str | PathLike[str]) -> None:
        """Take over, in place, the weights that `save_pretrained` wrote for a model of this shape and precision.

        Raises:
            ValueError: they are of another shape or precision.
        """
        if has_adapters(self):  # all others but the new parts are frozen, and as they were
            load_adapters(self, path)
            self._restore_new_parts(Path(path))
            return
        saved = type(self).from_pretrained(path)
        if saved.dtype != self.dtype:
            stored, own = (str(dtype).removeprefix("torch.") for dtype in (saved.dtype, self.dtype))
            raise ValueError(
                f"{path} holds {stored} parameters, and this run trains {own}: give dtype: {stored} to go on as it "
                "was, or start a new run"
            )
        own = self.state_dict()
        self.load_state_dict({name: laid_as(own.get(name), tensor) for name, tensor in saved.state_dict().items()})

    @torch.no_grad()
    def _restore_new_parts(self, directory: Path) -> None:
        own = {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}
        for name, tensor in read_tensors(Source(str(directory))).items():
            if name in own:
                own[name].copy_(laid_as(own[name], tensor))


def _in_memory(model: nn.Module) -> tuple[str, Any, SavedHeads, CriticSpec | None, Callable[[], Any]]:
    """Name, decoder, heads, critic and tensors of a loaded model."""
    name = f"this {type(model).__name__}"
    if any(MARK in parameter for parameter, _ in model.named_parameters()):
        raise ValueError(f"{name} holds adapters: give the directory that their training left, or load the base again")
    if isinstance(model, HeadedModel):
        saved = SavedHeads.of(model)
        own = {key: tensor for key, tensor in model.state_dict().items() if saved.names(key)}
        return name, model.hf_model, saved, model.critic, lambda: own
    settle_4_bits(model)
    return name, model, SavedHeads(), None, dict


def _fits(dtype: torch.dtype, state: Mapping[str, Tensor]) -> bool:
    """Whether the weights lie in the range of `dtype`, else a warning: a run that ends must not lose its model."""
    largest = torch.finfo(dtype).max
    for name, tensor in state.items():
        if _is_cast(name, tensor) and tensor.numel() and tensor.abs().max() > largest:
            short = str(dtype).removeprefix("torch.")
            logger.warning("not saved as %s: %s is beyond its range; saved as it was trained", short, name)
            return False
    return True


def _cast_to(dtype: torch.dtype, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in another precision; tensors that share memory (tied embeddings) still do."""
    made: dict[tuple[int, torch.Size], Tensor] = {}
    cast = dict(state)
    for name, tensor in state.items():
        if _is_cast(name, tensor):
            cast[name] = made.setdefault((tensor.data_ptr(), tensor.shape), tensor.to(dtype))
    return cast


def _is_cast(name: str, tensor: Tensor) -> bool:
    return tensor.is_floating_point() and not name.startswith(FLOAT32_ALWAYS)
