"""Arguments are checked before they are used: what came, and what is needed.

Only shapes, dtypes and Python numbers are looked at; the contents of a tensor never are, because reading
one makes the host wait for the device.
"""

import math
from numbers import Real
from typing import TypeGuard

import torch
from torch import Tensor


def check_shape(name: str, tensor: Tensor, needed: tuple[int, ...], meaning: str) -> None:
    """Raise unless `tensor` has exactly the shape `needed`; `meaning` names its axes.

    Examples:
        >>> check_shape("mask", torch.ones(2, 3), (2, 4), "[batch, seq]")
        Traceback (most recent call last):
        ValueError: mask has shape [2, 3]; needed is [batch, seq] = [2, 4]
    """
    if tuple(tensor.shape) != needed:
        raise ValueError(f"{name} has shape {list(tensor.shape)}; needed is {meaning} = {list(needed)}")


def check_rank(name: str, tensor: Tensor, meaning: str) -> None:
    """Raise unless `tensor` has as many axes as `meaning`, such as "[batch, seq]", names."""
    if tensor.ndim != meaning.count(",") + 1:
        raise ValueError(f"{name} has shape {list(tensor.shape)}; needed is {meaning}")


def check_number(name: str, value: object, minimum: float, maximum: float, brackets: str = "[]") -> float:
    """Return `value` as a float, or raise unless it lies in the interval; "(" and ")" leave an end out.

    Examples:
        >>> check_number("gamma", 1, 0.0, 1.0)
        1.0
        >>> check_number("decay", 1.0, 0.0, 1.0, "[)")
        Traceback (most recent call last):
        ValueError: decay is 1.0; needed is a number in [0, 1)
    """
    number = float(value) if is_number(value) else math.nan
    left_out = {end for end, bracket in ((minimum, brackets[0]), (maximum, brackets[1])) if bracket in "()"}
    if not minimum <= number <= maximum or number in left_out:
        interval = f"{brackets[0]}{minimum:g}, {maximum:g}{brackets[1]}"
        raise ValueError(f"{name} is {value!r}; needed is a number in {interval}")
    return number


def check_temperature(name: str, value: object) -> float:
    """Return `value` as a float, or raise unless it is a finite number above 0."""
    return check_number(name, value, 0.0, math.inf, "()")


def check_segment_ids(segment_ids: Tensor, needed: tuple[int, ...]) -> None:
    """Raise unless `segment_ids` is an integer tensor of the shape `needed`.

    Examples:
        >>> check_segment_ids(torch.ones(1, 2), (1, 2))
        Traceback (most recent call last):
        ValueError: segment_ids has dtype torch.float32; needed are integers, 0 for padding
    """
    check_shape("segment_ids", segment_ids, needed, "[batch, seq]")
    if segment_ids.is_floating_point() or segment_ids.is_complex():
        raise ValueError(f"segment_ids has dtype {segment_ids.dtype}; needed are integers, 0 for padding")


def check_rewards(rewards: Tensor, shape: tuple[int, int], segment_ids: Tensor | None) -> None:
    """Raise unless the rewards are [batch], or [batch, seq], which packed rows need.

    Examples:
        >>> check_rewards(torch.ones(2), (2, 5), segment_ids=None)
        >>> check_rewards(torch.ones(2), (2, 5), segment_ids=torch.ones(2, 5).int())  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: rewards has shape [2] and segment_ids is given; packed rows need one reward ...
    """
    batch, seq = shape
    if segment_ids is not None:
        check_segment_ids(segment_ids, shape)
    if rewards.ndim == 1 and segment_ids is not None:
        raise ValueError(
            f"rewards has shape {list(rewards.shape)} and segment_ids is given; packed rows need one reward "
            f"per position, {[batch, seq]}: that of an episode stands at its last valid position"
        )
    if tuple(rewards.shape) not in {(batch,), (batch, seq)}:
        raise ValueError(
            f"rewards has shape {list(rewards.shape)}; needed is [batch] = {[batch]} (paid at the last valid "
            f"position) or [batch, seq] = {[batch, seq]}"
        )


def working_dtype(x: Tensor) -> torch.dtype:
    """The dtype of the arithmetic: float64 stays, everything else is computed in float32.

    Examples:
        >>> working_dtype(torch.ones(1, dtype=torch.bfloat16))
        torch.float32
    """
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def usable_temperature(temperature: float, dtype: torch.dtype) -> float:
    """The temperature, moved into the range where dividing by it gives no 0/0 and no infinite gradient.

    1e-60 is 0 in float32, and 0/0 would make NaN of a TD error of 0. Weights are the same either way.

    Examples:
        >>> usable_temperature(1e-60, torch.float32) > 0, usable_temperature(0.9, torch.float32)
        (True, 0.9)
    """
    limits = torch.finfo(dtype)
    return min(max(temperature, limits.tiny), limits.max)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    """Return `value`, or raise unless it is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; needed is one of {', '.join(choices)}")
    return value


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


def require_number(name: str, x: object, *, above: float = -math.inf) -> None:
    """Raise ValueError unless x is a finite Python number above a bound."""
    if not is_number(x) or not above < x < math.inf:
        bound = "" if above == -math.inf else f" above {above:g}"
        raise ValueError(f"{name} is {x!r}; a finite number{bound} is needed")


def is_number(x: object) -> TypeGuard[float]:
    """Whether x is a number to Python: a bool is an int to it, and a mistake here; Real covers numpy's."""
    return not isinstance(x, bool) and isinstance(x, Real)
