"""The entry `weighted_mtp` of a config.json: which heads, and which critic, lie beside the plain model."""

import json
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch

from weighted_mtp.models.critic_spec import CriticSpec
from weighted_mtp.models.parts import HeadedModel
from weighted_mtp.models.sources import Source
from weighted_mtp.models.value_head import ValueLink

CONFIG_ENTRY = "weighted_mtp"


class SavedHeads(NamedTuple):
    """The entry `weighted_mtp` of a config.json: what lies beside a plain model. Nothing, by default."""

    n_future: int = 1
    value_head: bool = False
    value_link: ValueLink | None = None
    critic: dict[str, Any] | None = None
    value_hidden: int = 0

    @classmethod
    def of(cls, model: HeadedModel) -> Self:
        """What is beside the plain model in one in memory."""
        head = model.value_head
        critic = None if model.critic is None else model.critic.as_dict()
        link, width = (None, 0) if head is None else (head.link, head.hidden_units)
        return cls(model.n_future, head is not None, link, critic, width)

    def require_kinds(self) -> None:
        """Raises ValueError for a value that no save writes."""
        for name, least in (("n_future", 1), ("value_hidden", 0)):
            value: Any = getattr(self, name)
            if type(value) is not int or value < least:
                raise ValueError(f"{name} is {value!r}, not a whole number from {least} on")
        if type(self.value_head) is not bool:
            raise ValueError(f"value_head is {self.value_head!r}, not true or false")

    def is_of(self, critic: CriticSpec | None) -> bool:
        """Whether what is saved is of this kind of critic.

        The head of a generative or implicit critic is its prior, and no value head; nor the other way round.
        """
        return (None if critic is None else critic.kind) == (self.critic["kind"] if self.critic else None)


def own_entry(config: Any, source: Source) -> tuple[SavedHeads, CriticSpec | None]:
    """What a config.json says of us, and the critic that it names; a name from elsewhere is no default."""
    try:
        saved = SavedHeads(**getattr(config, CONFIG_ENTRY, {}))
        saved.require_kinds()
        return saved, CriticSpec(**saved.critic) if saved.critic else None
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"config.json of {source} has an entry {CONFIG_ENTRY!r} that this version cannot read: {error}"
        ) from None


def write_entry(model: HeadedModel, directory: Path, dtype: torch.dtype | None) -> None:
    """Writes down what lies beside the plain model, and the precision of what was saved where it is another."""
    file = directory / "config.json"
    saved = SavedHeads.of(model)
    optional = ("critic", "value_hidden")
    entry = {name: value for name, value in saved._asdict().items() if name not in optional or value}
    content = json.loads(file.read_text()) | {CONFIG_ENTRY: entry}
    if dtype is not None:  # transformers writes down that of the model in memory
        content["dtype"] = str(dtype).removeprefix("torch.")
    file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
