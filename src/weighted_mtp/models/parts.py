"""A decoder with its heads: what loading, saving and adapters know of an `MTPModel`, and the check that it computes."""

from typing import Any

import torch
import torch.nn as nn
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from weighted_mtp.models.architecture import UnsupportedModelError, decoder_layers
from weighted_mtp.models.critic_spec import CriticSpec
from weighted_mtp.models.extra_heads import ExtraHeads
from weighted_mtp.models.label_condition import LabelCondition
from weighted_mtp.models.value_head import ValueHead


class HeadedModel(nn.Module):
    """The parts of a model, and activation checkpointing of them, under the names that transformers.Trainer calls."""

    hf_model: Any
    extra_heads: ExtraHeads
    value_head: ValueHead | None
    critic: CriticSpec | None
    label_condition: LabelCondition | None

    @property
    def n_future(self) -> int:
        """Number of prediction heads, the next-token head included."""
        return 1 + len(self.extra_heads)

    @property
    def config(self) -> Any:
        """The wrapped model's configuration."""
        return self.hf_model.config

    @property
    def device(self) -> torch.device:
        """Device of the wrapped model."""
        return self.hf_model.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the wrapped model."""
        return self.hf_model.dtype

    @property
    def _no_split_modules(self) -> list[str]:
        """Classes that FSDP shards one by one: those of the layers, of which the extra heads are copies."""
        return sorted({type(layer).__name__ for layer in decoder_layers(self.hf_model)})

    def full_forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> dict[str, Tensor]:
        """At least "logits" [batch, seq, n_future, vocab]."""
        raise NotImplementedError(f"{type(self).__name__} needs a method full_forward(input_ids, attention_mask)")

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Recompute activations in the backward pass, layer by layer and head by head; options as the decoder's own."""
        self.hf_model.activation_checkpointing_enable(activation_checkpointing_kwargs, **kwargs)
        self.extra_heads.set_checkpointing(True, decoder_layers(self.hf_model)[-1]._gradient_checkpointing_func)

    def activation_checkpointing_disable(self) -> None:
        """Keep all activations again."""
        self.hf_model.activation_checkpointing_disable()
        self.extra_heads.set_checkpointing(False)

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """`activation_checkpointing_enable` under its former name, which most callers know."""
        self.activation_checkpointing_enable(gradient_checkpointing_kwargs, **kwargs)

    def gradient_checkpointing_disable(self) -> None:
        """`activation_checkpointing_disable` under its former name."""
        self.activation_checkpointing_disable()

    @property
    def is_activation_checkpointing(self) -> bool:
        """Whether activations are recomputed."""
        return self.hf_model.is_activation_checkpointing


@torch.no_grad()
def check_heads(model: HeadedModel) -> None:
    """Run five tokens through a model with fresh heads: every head must give the plain model's logits, or the family
    does something unknown: reshapes stacked heads, scales logits, depends on a layer's index, is not causal. A model on
    the meta device is not checked, and of native heads, which are trained, only head 0."""
    hf_model, model_type = model.hf_model, model.config.model_type
    if model.device.type == "meta":
        return
    ids = torch.arange(1, 6, device=model.device).repeat(2, 1) % model.config.get_text_config().vocab_size
    ids[1, -1] = 0  # the rows differ in their last token only, which no earlier position may see
    mask = torch.ones_like(ids)
    was_training = hf_model.training
    model.eval()
    plain = hf_model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
    try:
        heads = model.full_forward(ids, mask)["logits"].float()
    except Exception as error:  # whatever a foreign forward raises on stacked heads
        raise UnsupportedModelError(model_type, f"its forward fails with them ({error})") from error
    finally:
        model.train(was_training)
    # Stacked heads are multiplied in other block sizes than plain rows: half precision and 4 bits round differently.
    exact = model.dtype in (torch.float32, torch.float64) and not getattr(hf_model, "is_loaded_in_4bit", False)
    tolerance = (1e-3 if exact else 0.1) * plain.abs().max().clamp_min(1e-3)
    if heads.shape != (*plain.shape[:2], model.n_future, plain.shape[-1]):
        raise UnsupportedModelError(model_type, "its forward folds them into the hidden size")
    heads = heads if model.extra_heads.kind == "parallel" else heads[..., :1, :]
    if (heads - plain.unsqueeze(-2)).abs().max() > tolerance:
        raise UnsupportedModelError(
            model_type, "logits from its hidden states and head weight differ from its own (unknown scaling?)"
        )
    if (plain[0, :-1] - plain[1, :-1]).abs().max() > tolerance:
        raise UnsupportedModelError(model_type, "its attention is not causal")


def laid_as(own: Tensor | None, tensor: Tensor) -> Tensor:
    """This process's shard of a whole tensor, where FSDP sharded the model's own; else the tensor."""
    if not isinstance(own, DTensor):
        return tensor
    return distribute_tensor(tensor.to(own.device), own.device_mesh, own.placements, src_data_rank=None)
