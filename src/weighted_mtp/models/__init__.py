"""Multi-token prediction over any Hugging Face decoder: model, loading, warm-up of new heads."""

from weighted_mtp.models.architecture import UnsupportedModelError
from weighted_mtp.models.critic_spec import CriticSpec
from weighted_mtp.models.label_condition import RIGHT, UNTOLD, WRONG
from weighted_mtp.models.mtp_model import MTPModel
from weighted_mtp.models.sources import load_tokenizer
from weighted_mtp.models.token_limits import require_readable
from weighted_mtp.models.value_head import ValueHead, ValueLink
from weighted_mtp.models.warmup import head_warmup

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
