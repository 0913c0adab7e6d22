"""Activation checkpointing of a decoder and its extra heads, under the names that transformers.Trainer calls."""

from typing import Any

from weighted_mtp.models.architecture import decoder_layers
from weighted_mtp.models.extra_heads import ExtraHeads


class ActivationCheckpointing:
    """Methods of a model that has a decoder, `hf_model`, and `extra_heads`."""

    hf_model: Any
    extra_heads: ExtraHeads

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Recompute activations in the backward pass, layer by layer and head by head.

        Args:
            activation_checkpointing_kwargs: arguments of `torch.utils.checkpoint.checkpoint`.
            kwargs: further options of the wrapped model's method of this name.
        """
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
