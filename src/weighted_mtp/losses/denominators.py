"""The denominator that losses share: one count, or sum of weights, for all micro-batches and ranks."""

import math

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from weighted_mtp.checks import is_number, working_dtype


def as_denominator(normalizer: Tensor | float, like: Tensor) -> Float[Tensor, ""]:
    """A given denominator as a constant 0-d tensor on the device of `like`.

    A tensor on a device is not read, since that would wait for it: one below 0 makes NaN there, which shows.
    """
    dtype = working_dtype(like)
    if isinstance(normalizer, Tensor):
        if normalizer.numel() != 1:
            raise ValueError(f"normalizer has shape {list(normalizer.shape)}; one number is needed")
        if normalizer.dtype == torch.bool or normalizer.is_complex():
            raise ValueError(f"normalizer has dtype {normalizer.dtype}; a number is needed")
        denominator = normalizer.detach().reshape(()).to(dtype)
        usable = (denominator >= 0) & (denominator < math.inf)
        _require_on_host(usable, denominator, "a finite number that is not negative is needed")
        return denominator.masked_fill(~usable, math.nan).to(like.device)
    if not is_number(normalizer) or not 0 <= normalizer < math.inf:
        raise ValueError(f"normalizer is {normalizer!r}; a finite number that is not negative is needed")
    return torch.full((), float(normalizer), dtype=dtype, device=like.device)


def require_denominator(normalizer: object, kept: int | Tensor) -> None:
    """Raise ValueError where a given 0 would divide something; on a device it is not read, and the loss is infinite."""
    what_is_needed = "the number of predictions that are kept, or the sum of their weights, is needed"
    if isinstance(normalizer, Tensor):
        nothing_kept = torch.as_tensor(kept) == 0
        if normalizer.device == nothing_kept.device:
            _require_on_host((normalizer != 0) | nothing_kept, normalizer, what_is_needed)
    elif is_number(normalizer) and normalizer == 0 and kept:
        raise ValueError(f"normalizer is 0; {what_is_needed}")


def _require_on_host(usable: Tensor, normalizer: Tensor, what_is_needed: str) -> None:
    """Raise ValueError unless True. Off the CPU nothing happens: reading it would wait for the device."""
    if usable.device.type != "cpu":
        return
    try:
        # an operator, so that compiled code holds the check too
        torch._assert_async(usable.all())  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
    except RuntimeError:
        raise ValueError(f"normalizer is {normalizer.item():g}; {what_is_needed}") from None


def safe_divide(numerator: Shaped[Tensor, "*n"], denominator: Shaped[Tensor, "*n"]) -> Shaped[Tensor, "*n"]:
    """The quotient, 0 where the denominator is 0."""
    zero = denominator == 0
    return torch.where(zero, 0.0, numerator / denominator.masked_fill(zero, 1.0))
