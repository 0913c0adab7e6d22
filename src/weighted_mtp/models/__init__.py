"""Multi-token prediction over any Hugging Face decoder: model, loading, warm-up of new heads.

What needs torch is imported when it is asked for, so that a path that leads to no model is told without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .architecture import UnsupportedModelError
    from .critic_spec import CriticSpec
    from .extra_heads import head_warmup
    from .label_condition import RIGHT, UNTOLD, WRONG
    from .mtp_model import MTPModel
    from .sources import load_tokenizer
    from .token_limits import require_readable
    from .value_head import ValueHead, ValueLink

_HOMES = {
    "architecture": ("UnsupportedModelError",),
    "critic_spec": ("CriticSpec",),
    "extra_heads": ("head_warmup",),
    "label_condition": ("RIGHT", "UNTOLD", "WRONG"),
    "mtp_model": ("MTPModel",),
    "sources": ("load_tokenizer",),
    "token_limits": ("require_readable",),
    "value_head": ("ValueHead", "ValueLink"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "RIGHT",
    "UNTOLD",
    "WRONG",
    "CriticSpec",
    "MTPModel",
    "UnsupportedModelError",
    "ValueHead",
    "ValueLink",
    "head_warmup",
    "load_tokenizer",
    "require_readable",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
    return value
