"""What kind of critic a model is, beyond a value head: kept in its config.json, so that a directory explains itself."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch.nn as nn

from weighted_mtp.models.label_condition import LabelCondition, LabelEmbedding, LabelTags


@dataclass(frozen=True)
class CriticSpec:
    """A generative or an implicit critic.

    generative: one model of right and of wrong completions, told the label (see `LabelEmbedding`, `LabelTags`);
    implicit: log-odds of success = b + beta * sum of log(model / reference). In both the value head gives the
    log-odds of success before the completion: its bias alone, or (prior "head") from the prompt's last state.
    """

    kind: Literal["generative", "implicit"]
    prior: Literal["base_rate", "head"] = "base_rate"
    """Generative: the prior is the share of right completions, or learned for each prompt."""
    tags: dict[str, list[int]] | None = None
    """Generative: token ids of the tags `right` and `wrong`; None: a learned embedding."""
    bos: int | None = None
    """Generative: token that the tokenizer puts before every text, and that stays before the tag."""
    reward_beta: float = 0.05
    """Implicit: log-odds per nat of log-ratio."""
    reference: str | None = None
    """Implicit: directory of the reference model."""

    def label_condition(self, hf_model: Any) -> LabelCondition | None:
        """The module that tells a decoder the label, None for an implicit critic."""
        if self.kind == "implicit":
            return None
        if self.tags is None:
            embeddings: nn.Module = hf_model.get_input_embeddings()
            return LabelEmbedding(embeddings)
        return LabelTags(self.tags["right"], self.tags["wrong"], self.bos)

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)
