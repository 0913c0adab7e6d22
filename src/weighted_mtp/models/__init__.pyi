from .architecture import UnsupportedModelError
from .critic_spec import CriticSpec
from .draft_counts import DraftCounts
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
    "DraftCounts",
    "MTPModel",
    "UnsupportedModelError",
    "ValueHead",
    "ValueLink",
    "head_warmup",
    "load_tokenizer",
    "require_readable",
]
