"""The table of weighting schemes: names to import paths, so that built-in ones are found like one's own.

Needs no torch until a scheme is asked for, so that a mistaken name is told at once.
"""

import importlib
import inspect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from weighted_mtp.choices import nearest

if TYPE_CHECKING:
    from weighted_mtp.value_weighting.protocol import WeightingScheme

_HOME = "weighted_mtp.value_weighting.schemes"
PATHS = {
    "uniform": f"{_HOME}.basic:Uniform",
    "column": f"{_HOME}.basic:Column",
    "td": f"{_HOME}.td:TD",
    "log_odds": f"{_HOME}.log_odds:LogOdds",
    "gated": f"{_HOME}.gated:Gated",
    "return_weighted": f"{_HOME}.return_weighted:ReturnWeighted",
    "softmax": f"{_HOME}.softmax:Softmax",
    "rho1": f"{_HOME}.rho1:Rho1",
    "dft": f"{_HOME}.dft:DFT",
    "profit": f"{_HOME}.profit:ProFit",
    "prift": f"{_HOME}.prift:PriFT",
    "iw_sft": f"{_HOME}.iw_sft:IwSFT",
    "eaft": f"{_HOME}.eaft:EAFT",
    "top_entropy": f"{_HOME}.top_entropy:TopEntropy",
    "steps": f"{_HOME}.steps:Steps",
    "signed": f"{_HOME}.signed:SignedCredit",
    "w_reinforce": f"{_HOME}.w_reinforce:WReinforce",
    "nft": f"{_HOME}.nft:NFT",
    "position_aligned": f"{_HOME}.controls:PositionAligned",
    "shuffled": f"{_HOME}.controls:Shuffled",
    "shuffled_across": f"{_HOME}.controls:ShuffledAcross",
    "lognormal": f"{_HOME}.controls:LogNormal",
}
"""One row per scheme: its name in a config, and package.module:Class."""


class _Schemes(Mapping[str, "type[WeightingScheme]"]):
    """The classes of `PATHS` by name, each imported when it is asked for."""

    def __getitem__(self, name: str) -> "type[WeightingScheme]":
        return _import_scheme(PATHS[name])

    def __iter__(self) -> Iterator[str]:
        return iter(PATHS)

    def __len__(self) -> int:
        return len(PATHS)


SCHEMES = _Schemes()


def scheme_path(name: str) -> str:
    """Where the scheme of this name is: package.module:Class.

    Raises:
        ValueError: the name is neither in the table nor such a path.
    """
    if ":" in name:
        return name
    if name not in PATHS:
        near = nearest(name, PATHS)
        hint = f"nearest is {near[0]!r}, " if near else ""
        raise ValueError(
            f"unknown weighting scheme {name!r}; {hint}choices are {', '.join(PATHS)}, "
            'or "package.module:Class" for your own'
        )
    return PATHS[name]


def make_scheme(name: str, **options: Any) -> "WeightingScheme":
    """A weighting scheme by its name in a config.

    Args:
        name: a key of `SCHEMES`, or "package.module:Class" for a `WeightingScheme` of one's own that Python can import.
        options: arguments of the class.

    Raises:
        ValueError: the name is unknown, the class cannot be imported or is no `WeightingScheme`, or an option
            is unknown, missing or out of range.

    Examples:
        >>> make_scheme("td", beta=0.3, whitening="ema").beta
        0.3
        >>> make_scheme("softmx")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: unknown weighting scheme 'softmx'; nearest is 'softmax', choices are uniform, ...
        >>> make_scheme("weighted_mtp.value_weighting.schemes.td:TD").requires
        ('values', 'rewards')
    """
    scheme_class = _import_scheme(scheme_path(name))
    try:
        inspect.signature(scheme_class).bind(**options)
    except TypeError as error:
        accepted = ", ".join(inspect.signature(scheme_class).parameters) or "none"
        raise ValueError(f"weighting scheme {name!r}: {error}; its options are: {accepted}") from None
    return scheme_class(**options)


def _import_scheme(path: str) -> "type[WeightingScheme]":
    from weighted_mtp.value_weighting.protocol import WeightingScheme  # needs torch

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
