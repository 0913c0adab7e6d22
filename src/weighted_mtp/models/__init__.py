"""Multi-token prediction over any Hugging Face decoder: model, loading, warm-up of new heads."""

from weighted_mtp.models.loading import load_tokenizer
from weighted_mtp.models.mtp_model import MTPModel
from weighted_mtp.models.warmup import head_warmup

__all__ = ["MTPModel", "head_warmup", "load_tokenizer"]
