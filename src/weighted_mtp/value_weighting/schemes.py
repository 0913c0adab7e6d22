"""The table of weighting schemes, and the two that need no signal of their own."""

import difflib
import importlib
import inspect
from typing import Any

import torch
from torch import Tensor

from weighted_mtp.value_weighting.controls import LogNormal, Shuffled, ShuffledAcross
from weighted_mtp.value_weighting.log_odds import LogOdds
from weighted_mtp.value_weighting.position_aligned import PositionAligned
from weighted_mtp.value_weighting.protocol import Signals, WeightingScheme, required, weigh
from weighted_mtp.value_weighting.return_weighted import ReturnWeighted
from weighted_mtp.value_weighting.rho1 import Rho1
from weighted_mtp.value_weighting.softmax import Softmax
from weighted_mtp.value_weighting.td import TD
from weighted_mtp.value_weighting.validation import working_dtype

__all__ = ["SCHEMES", "Column", "Signals", "Uniform", "WeightingScheme", "make_scheme", "weigh"]


class Uniform(WeightingScheme):
    """Weight 1 everywhere: plain fine-tuning, the baseline of every comparison.

    Source: the baseline of Gloeckle et al. 2024 (arXiv 2404.19737).

    Examples:
        >>> mask = torch.tensor([[True, False]])
        >>> Uniform()(Signals(mask=mask, valid=mask[..., None])).tolist()
        [[1.0, 1.0]]
    """

    def weight_range(self, bounded_values: bool) -> tuple[float, float]:
        """1."""
        return 1.0, 1.0

    def forward(self, signals: Signals) -> Tensor:
        """Ones."""
        return torch.ones_like(signals.mask, dtype=torch.float32)


class Column(WeightingScheme):
    """Weights that came with the data, taken as they are: scored once, ahead of training.

    Examples:
        >>> mask = torch.tensor([[True, True]])
        >>> Column()(Signals(mask=mask, valid=mask[..., None], weights=torch.tensor([[2, 3]]))).tolist()
        [[2.0, 3.0]]
    """

    requires = ("weights",)

    def forward(self, signals: Signals) -> Tensor:
        """The column itself."""
        weights = required(signals.weights, "weights")
        return weights.to(working_dtype(weights))


SCHEMES: dict[str, type[WeightingScheme]] = {
    "uniform": Uniform,
    "column": Column,
    "td": TD,
    "log_odds": LogOdds,
    "return_weighted": ReturnWeighted,
    "softmax": Softmax,
    "rho1": Rho1,
    "position_aligned": PositionAligned,
    "shuffled": Shuffled,
    "shuffled_across": ShuffledAcross,
    "lognormal": LogNormal,
}


def make_scheme(name: str, **options: Any) -> WeightingScheme:
    """A weighting scheme by its name in a config.

    Args:
        name: a key of `SCHEMES`, or "package.module:Class" for a `WeightingScheme` of one's own that Python
            can import.
        options: arguments of the class.

    Returns:
        The scheme, in training mode.

    Raises:
        ValueError: the name is unknown, the class cannot be imported or is no `WeightingScheme`, or an option
            is unknown, missing or out of range.

    Examples:
        >>> make_scheme("td", beta=0.3, whitening="ema").beta
        0.3
        >>> make_scheme("softmx")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: unknown weighting scheme 'softmx'; nearest is 'softmax', choices are uniform, ...
        >>> make_scheme("weighted_mtp.value_weighting.td:TD").requires
        ('values', 'rewards')
    """
    scheme_class = _import_scheme(name) if ":" in name else SCHEMES.get(name)
    if scheme_class is None:
        near = difflib.get_close_matches(name, SCHEMES, n=1, cutoff=0.5)
        hint = f"nearest is {near[0]!r}, " if near else ""
        raise ValueError(
            f"unknown weighting scheme {name!r}; {hint}choices are {', '.join(SCHEMES)}, "
            'or "package.module:Class" for your own'
        )
    try:
        inspect.signature(scheme_class).bind(**options)
    except TypeError as error:
        accepted = ", ".join(inspect.signature(scheme_class).parameters) or "none"
        raise ValueError(f"weighting scheme {name!r}: {error}; its options are: {accepted}") from None
    return scheme_class(**options)


def _import_scheme(path: str) -> type[WeightingScheme]:
    module_name, _, class_name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"weighting scheme {path!r} cannot be imported: {error}; needed is package.module:Class, "
            "in a package that is installed or in a folder on PYTHONPATH"
        ) from error
    if not (isinstance(found, type) and issubclass(found, WeightingScheme)):
        raise ValueError(f"weighting scheme {path!r} is {found!r}; needed is a subclass of WeightingScheme")
    return found
