"""In which precision parameters are trained, and saved.

Adam moves a weight by about the learning rate a step. bfloat16 tells numbers apart that differ by 1/256: at weights of
.1 and a rate of 2e-5 almost every update rounds away, and nothing is learned though the loss is finite. So parameters
that train are float32, and `bf16: true` computes in bfloat16 over them.
"""

import logging
from typing import Literal

import torch

from weighted_mtp.models import MTPModel
from weighted_mtp.training.settings import ModelConfig

logger = logging.getLogger(__name__)

SAVED: dict[str, torch.dtype | None] = {
    "auto": None,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
"""Precisions of the final model by the name that `save_dtype` takes; None: each tensor's own."""


def loaded_dtype(settings: ModelConfig, frozen: bool) -> Literal["auto", "float32", "bfloat16", "float16"]:
    """The precision in which the model is read for training.

    Args:
        settings: `dtype`, where it is named, is taken at its word.
        frozen: whether all that the checkpoint holds stays frozen (adapters, or a value head alone).
    """
    if settings.dtype != "auto":
        if settings.dtype == "bfloat16" and not frozen:
            logger.warning(
                "parameters train in bfloat16, as dtype says: updates smaller than 1/256 of a weight round away, which "
                "at usual learning rates are most. dtype: auto trains float32 parameters; bf16: true keeps the speed"
            )
        return settings.dtype
    return "auto" if frozen else "float32"


def settle_frozen_base(model: MTPModel) -> None:
    """A frozen base stays as it is stored, but for float16, whose range activations and gradients leave; what is new
    beside it is float32.

    Extra heads are copies of the base's last layer; adapters train them, and what is saved is the sum of both.
    """
    if model.dtype == torch.float16:
        model.float()
    model.extra_heads.float()
