"""Arguments are checked before they are used: what came, and what is needed.

Only shapes, dtypes and Python numbers are looked at; the contents of a tensor never are, because reading
one makes the host wait for the device.
"""

import math
from numbers import Real

import torch
from torch import Tensor


def check_shape(name: str, tensor: Tensor, needed: tuple[int, ...], meaning: str) -> None:
    """Raise unless `tensor` has exactly the shape `needed`; `meaning` names its axes."""
    if tuple(tensor.shape) != needed:
        raise ValueError(f"{name} has shape {list(tensor.shape)}; needed is {meaning} = {list(needed)}")


def check_rank(name: str, tensor: Tensor, meaning: str) -> None:
    """Raise unless `tensor` has as many axes as `meaning`, such as "[batch, seq]", names."""
    if tensor.ndim != meaning.count(",") + 1:
        raise ValueError(f"{name} has shape {list(tensor.shape)}; needed is {meaning}")


def check_number(name: str, value: object, minimum: float, maximum: float, brackets: str = "[]") -> float:
    """Return `value` as a float, or raise unless it lies in the interval; "(" and ")" leave an end out."""
    # Real covers numpy scalars; a bool is an int to Python, and a mistake here
    number = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    left_out = {end for end, bracket in ((minimum, brackets[0]), (maximum, brackets[1])) if bracket in "()"}
    if not minimum <= number <= maximum or number in left_out:
        interval = f"{brackets[0]}{minimum:g}, {maximum:g}{brackets[1]}"
        raise ValueError(f"{name} is {value!r}; needed is a number in {interval}")
    return number


def check_temperature(name: str, value: object) -> float:
    """Return `value` as a float, or raise unless it is a finite number above 0."""
    return check_number(name, value, 0.0, math.inf, "()")


def check_segment_ids(segment_ids: Tensor, needed: tuple[int, ...]) -> None:
    """Raise unless `segment_ids` is an integer tensor of the shape `needed`."""
    check_shape("segment_ids", segment_ids, needed, "[batch, seq]")
    if segment_ids.is_floating_point() or segment_ids.is_complex():
        raise ValueError(f"segment_ids has dtype {segment_ids.dtype}; needed are integers, 0 for padding")


def working_dtype(x: Tensor) -> torch.dtype:
    """The dtype of the arithmetic: float64 stays, everything else is computed in float32."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def usable_temperature(temperature: float, dtype: torch.dtype) -> float:
    """The temperature, moved into the range where dividing by it gives no 0/0 and no infinite gradient.

    1e-60 is 0 in float32, and 0/0 would make NaN of a TD error of 0. Weights are the same either way.
    """
    limits = torch.finfo(dtype)
    return min(max(temperature, limits.tiny), limits.max)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    """Return `value`, or raise unless it is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; needed is one of {', '.join(choices)}")
    return value
