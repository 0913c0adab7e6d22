"""Multi-token prediction over any Hugging Face decoder: model, loading, warm-up of new heads.

What needs torch is imported when it is asked for, so that a path that leads to no model is told without it.
"""

from typing import TYPE_CHECKING

from weighted_mtp.faces import lazy_face

if TYPE_CHECKING:
    from .architecture import UnsupportedModelError
    from .critic_spec import CriticSpec
    from .extra_heads import head_warmup
    from .label_condition import RIGHT, UNTOLD, WRONG
    from .mtp_model import MTPModel
    from .sources import load_tokenizer
    from .token_limits import require_readable
    from .value_head import ValueHead, ValueLink

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

__getattr__ = lazy_face(
    __name__,
    {
        "architecture": ("UnsupportedModelError",),
        "critic_spec": ("CriticSpec",),
        "extra_heads": ("head_warmup",),
        "label_condition": ("RIGHT", "UNTOLD", "WRONG"),
        "mtp_model": ("MTPModel",),
        "sources": ("load_tokenizer",),
        "token_limits": ("require_readable",),
        "value_head": ("ValueHead", "ValueLink"),
    },
)
