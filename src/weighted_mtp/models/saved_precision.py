"""Weights in the precision in which they are to be saved."""

import logging
from collections.abc import Mapping

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

FLOAT32_ALWAYS = ("value_head.", "label_condition.")


def fits(dtype: torch.dtype, state: Mapping[str, Tensor]) -> bool:
    """Whether the weights lie in the range of `dtype`; a warning says which does not.

    They are then saved as they were trained: a run that ends must not lose its model.
    """
    largest = torch.finfo(dtype).max
    for name, tensor in state.items():
        if _is_cast(name, tensor) and tensor.numel() and tensor.abs().max() > largest:
            short = str(dtype).removeprefix("torch.")
            logger.warning("not saved as %s: %s is beyond its range; saved as it was trained", short, name)
            return False
    return True


def cast_to(dtype: torch.dtype, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in another precision; tensors that share memory (tied embeddings) still do."""
    made: dict[tuple[int, torch.Size], Tensor] = {}
    cast = dict(state)
    for name, tensor in state.items():
        if _is_cast(name, tensor):
            cast[name] = made.setdefault((tensor.data_ptr(), tensor.shape), tensor.to(dtype))
    return cast


def _is_cast(name: str, tensor: Tensor) -> bool:
    return tensor.is_floating_point() and not name.startswith(FLOAT32_ALWAYS)
