"""Errors that say what came and what is needed, and the denominator that losses share."""

import math
from numbers import Real
from typing import TypeGuard

import torch
from jaxtyping import Float, Shaped
from torch import Tensor


def require_shape(name: str, x: Tensor, shape: tuple[int | None, ...]) -> None:
    """Raise ValueError unless x has this shape; None stands for any length."""
    fits = x.dim() == len(shape) and all(n in (None, m) for n, m in zip(shape, x.shape, strict=True))
    if not fits:
        needed = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} has shape {list(x.shape)}; [{needed}] is needed")


def require_integers(name: str, x: Tensor) -> None:
    """Raise ValueError unless x holds integers (bool does not count)."""
    if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
        raise ValueError(f"{name} has dtype {x.dtype}; an integer dtype is needed")


def require_floats(name: str, x: Tensor) -> None:
    """Raise ValueError unless x holds real floating-point numbers."""
    if not x.is_floating_point():
        raise ValueError(f"{name} has dtype {x.dtype}; a floating-point dtype is needed")


def accumulation_dtype(x: Tensor) -> torch.dtype:
    """Precision of sums over x: float64 for float64, float32 for everything narrower."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def as_denominator(normalizer: Tensor | float, like: Tensor) -> Float[Tensor, ""]:
    """A given denominator as a constant 0-d tensor on the device of `like`.

    A tensor on a device is not read, since that would wait for it: one below 0 makes NaN there, which shows.

    Raises:
        ValueError: it is not one finite number that is not negative.
    """
    dtype = accumulation_dtype(like)
    if isinstance(normalizer, Tensor):
        if normalizer.numel() != 1:
            raise ValueError(f"normalizer has shape {list(normalizer.shape)}; one number is needed")
        if normalizer.dtype == torch.bool or normalizer.is_complex():
            raise ValueError(f"normalizer has dtype {normalizer.dtype}; a number is needed")
        denominator = normalizer.detach().reshape(()).to(dtype)
        usable = (denominator >= 0) & (denominator < math.inf)
        _require_on_host(usable, denominator, "a finite number that is not negative is needed")
        return denominator.masked_fill(~usable, math.nan).to(like.device)
    if not _is_number(normalizer) or not 0 <= normalizer < math.inf:
        raise ValueError(f"normalizer is {normalizer!r}; a finite number that is not negative is needed")
    return torch.full((), float(normalizer), dtype=dtype, device=like.device)


def require_denominator(normalizer: object, kept: int | Tensor) -> None:
    """Raise ValueError where a given 0 would divide something; on a device it is not read, and the loss is infinite."""
    what_is_needed = "the number of predictions that are kept, or the sum of their weights, is needed"
    if isinstance(normalizer, Tensor):
        nothing_kept = torch.as_tensor(kept) == 0
        if normalizer.device == nothing_kept.device:
            _require_on_host((normalizer != 0) | nothing_kept, normalizer, what_is_needed)
    elif _is_number(normalizer) and normalizer == 0 and kept:
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


def require_number(name: str, x: object, *, above: float = -math.inf) -> None:
    """Raise ValueError unless x is a finite Python number above a bound."""
    if not _is_number(x) or not above < x < math.inf:
        bound = "" if above == -math.inf else f" above {above:g}"
        raise ValueError(f"{name} is {x!r}; a finite number{bound} is needed")


def _is_number(x: object) -> TypeGuard[float]:
    return not isinstance(x, bool) and isinstance(x, Real)  # Real covers numpy's


def safe_divide(numerator: Shaped[Tensor, "*n"], denominator: Shaped[Tensor, "*n"]) -> Shaped[Tensor, "*n"]:
    """The quotient, 0 where the denominator is 0."""
    zero = denominator == 0
    return torch.where(zero, 0.0, numerator / denominator.masked_fill(zero, 1.0))
