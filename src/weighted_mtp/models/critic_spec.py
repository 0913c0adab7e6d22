"""What kind of critic a model is, beyond a value head: kept beside its weights, so that a directory explains itself."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch.nn as nn

from weighted_mtp.models.label_condition import LabelCondition, LabelEmbedding, LabelTags


@dataclass(frozen=True)
class CriticSpec:
    """A generative or an implicit critic, or one of another kind, whose decoder reads its rows like one of these.

    generative: one model of right and of wrong completions, told the label (see `LabelEmbedding`, `LabelTags`);
    implicit: log-odds of success = b + beta * sum of log(model / reference). In both the value head gives the
    log-odds of success before the completion: its bias alone, or (prior "head") from the prompt's last state.
    """

    kind: str
    """Row of the table of critics (`training.critics.table`) that trains and reads it."""
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
    like: Literal["generative", "implicit"] | None = None
    """Another kind: which of these its decoder reads a row like; a generative one is told the label, an implicit one
    is not."""

    def __post_init__(self) -> None:
        _require_one_of("the kind of critic", self.like or self.kind, CONDITIONS)
        _require_one_of("the prior of a critic", self.prior, PRIORS)

    def label_condition(self, hf_model: Any) -> LabelCondition | None:
        """The module that tells a decoder the label, None where none is told."""
        return CONDITIONS[self.like or self.kind](self, hf_model)


def _told_the_label(spec: CriticSpec, hf_model: Any) -> LabelCondition:
    if spec.tags is not None:
        return LabelTags(spec.tags["right"], spec.tags["wrong"], spec.bos)
    embeddings: nn.Module = hf_model.get_input_embeddings()
    return LabelEmbedding(embeddings)


CONDITIONS: dict[str, Callable[[CriticSpec, Any], LabelCondition | None]] = {
    "generative": _told_the_label,
    "implicit": lambda spec, hf_model: None,
}
"""How each kind of critic is told the label."""
PRIORS = ("base_rate", "head")


def _require_one_of(what: str, name: str, choices: Iterable[str]) -> None:
    if name not in choices:
        raise ValueError(f"{what} is {name!r}: this version knows {', '.join(choices)}")
