"""The multi-token layers that a checkpoint brings, trained as extra heads and written under their own names."""

import re
from collections.abc import Mapping
from typing import Any

import torch.nn as nn
from torch import Tensor
from transformers.core_model_loading import revert_weight_conversion
from transformers.modeling_layers import MtpModel

from weighted_mtp.models.architecture import decoder_layers
from weighted_mtp.models.extra_heads import ExtraHeads, set_layer_index
from weighted_mtp.models.native_layers import stored_layers
from weighted_mtp.models.sequential_heads import SequentialHeads
from weighted_mtp.models.sources import first_line

_ENDS = {
    "enorm": ("enorm", "pre_fc_norm_embedding"),
    "hnorm": ("hnorm", "pre_fc_norm_hidden"),
    "eh_proj": ("eh_proj", "fc"),
    "post_norm": ("shared_head.norm", "post_norm", "norm"),
}
"""By transformers' names of a layer's own weights, those in releases: in the layer itself, or one level up."""
_ANCHOR = "input_layernorm.weight"


class NativeHeads(SequentialHeads):
    """`SequentialHeads` that a checkpoint brings: the first `count` layers, the others are kept as they are. A layer is
    given the mask and positions of the last decoder layer of its kind of attention. ValueError: transformers cannot
    read such layers of this family or checkpoint, or there are fewer."""

    kind = "native"
    new_parameters = ExtraHeads.new_parameters

    def __init__(self, hf_model: Any, count: int):
        source = hf_model.config.name_or_path or "a model in memory"
        hf_model.config.dtype = hf_model.dtype  # transformers leaves a name there when it saves, and reads it as a type
        try:
            self.stored = {*stored_layers(hf_model)}
            if not self.stored:
                raise LookupError("it holds none")
            read = _in_transformers(hf_model)
        except Exception as error:  # of transformers, by family and checkpoint
            raise ValueError(
                f"heads: native trains multi-token layers of the checkpoint, and transformers reads none from {source} "
                f"({first_line(error)[:200]}): give heads: parallel"
            ) from None
        if count > len(read.layers):
            raise ValueError(
                f"{source} holds {len(read.layers)} multi-token layers, and n_future is {count + 1}: heads: native "
                f"takes n_future up to {len(read.layers) + 1}"
            )
        nn.ModuleList.__init__(self, read.layers[:count])
        for index, head in enumerate(self, start=len(decoder_layers(hf_model))):
            set_layer_index(head, index)
        self.requires_grad_(True)
        found = [name.removesuffix(_ANCHOR) for name in self.stored if name.endswith("." + _ANCHOR)]
        self.prefixes = sorted(found, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])[:count]
        types, own = (getattr(c, "layer_types", None) for c in (hf_model.config.get_text_config(), read.config))
        last = len(decoder_layers(hf_model)) - 1
        nothing = {f"extra_heads.{name}": tensor.to("meta") for name, tensor in self.state_dict().items()}
        try:
            self.likes = [last - types[::-1].index(own[k]) if types and own else last for k in range(count)]
            known = not read.use_shared_post_norm and self.as_stored(hf_model, nothing).keys() <= self.stored
        except (ValueError, StopIteration):
            known = False
        if not known:
            raise ValueError(f"heads: native does not know the multi-token layers in {source}: give heads: parallel")

    def as_stored(self, hf_model: Any, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As `ExtraHeads`; where a checkpoint holds copies of embedding and unembedding, those of now."""
        named = {module: name for name, module in hf_model.named_modules()}
        layer = named[decoder_layers(hf_model)[-1]]
        shared = {"embed_tokens": hf_model.get_input_embeddings(), "shared_head.head": hf_model.get_output_embeddings()}
        made: dict[str, Tensor] = {}
        for k, prefix in enumerate(self.prefixes):
            start = f"extra_heads.{k}."
            own = {name.removeprefix(start): tensor for name, tensor in state.items() if name.startswith(start)}
            block = {name.replace("mtp_block", layer): x for name, x in own.items() if name.startswith("mtp_block.")}
            for name, tensor in revert_weight_conversion(hf_model, block).items():
                made[prefix + re.split(r"layers\.\d+\.", name, maxsplit=1)[1]] = tensor
            for name, ends in _ENDS.items():
                places = (f"{place}{end}.weight" for place in (prefix, prefix.split("layers.")[0]) for end in ends)
                made[next(place for place in places if place in self.stored)] = own[f"{name}.weight"]
            for end, module in shared.items():
                weight = state.get(f"hf_model.{named[module]}.weight")
                if weight is not None and f"{prefix}{end}.weight" in self.stored:
                    made[f"{prefix}{end}.weight"] = weight
        return made


def _in_transformers(hf_model: Any) -> MtpModel:
    """All that the config announces; of some families it would look behind the depth of their releases alone."""
    config = hf_model.config.get_text_config()
    beyond = range(config.num_hidden_layers, config.num_hidden_layers + config.num_mtp_layers)
    hf_model._keys_to_ignore_on_load_unexpected = [r"(^|\.)mtp\.", *(rf"layers\.{index}\." for index in beyond)]
    try:
        return MtpModel.from_pretrained(hf_model, device_map={"": hf_model.device})
    finally:
        del hf_model._keys_to_ignore_on_load_unexpected  # the class has its own
