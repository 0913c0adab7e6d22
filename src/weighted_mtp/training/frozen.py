"""Models that a stage reads and never trains."""

from transformers import PreTrainedTokenizerBase

from weighted_mtp.models import MTPModel, load_tokenizer
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.settings import ConfigError


def load_frozen(config: RunConfig, path: str, n_future: int | None) -> MTPModel:
    """A reference model, as a plain language model."""
    return MTPModel.from_pretrained(path, n_future=n_future, critic=False, dtype=config.model.dtype)


def require_same_tokenizer(path: str, tokenizer: PreTrainedTokenizerBase, role: str) -> None:
    """Raises ConfigError unless a critic or reference reads the same tokens as the trained model."""
    other = load_tokenizer(path)
    if other.get_vocab() != tokenizer.get_vocab():
        raise ConfigError(
            f"the {role} {path} has another tokenizer ({len(other)} tokens, the model's has {len(tokenizer)}): token "
            f"by token they cannot be compared; give a {role} that was made from the same base model"
        )
