"""The kinds of critic by name: one row holds all that differs. Importing this file imports nothing heavy."""

import importlib
from collections.abc import Callable, Mapping
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, NamedTuple

from weighted_mtp.training.errors import ConfigError

if TYPE_CHECKING:
    from weighted_mtp.training.config import RunConfig


class When(NamedTuple):
    """A condition under which a setting is read."""

    said: str
    """In words that go behind "with"; empty: always."""
    holds: "Callable[[RunConfig], bool]"
    """Whether it is met."""


Reads = Mapping[str, When]
"""Settings by name, and when each is read; `early_checks` refuses those that nothing in the run reads."""

ALWAYS = When("", lambda config: True)
TRAINED_TRUNK = When("freeze_trunk: false", lambda config: not config.critic.freeze_trunk)
LEARNED_PRIOR = When("prior: head", lambda config: config.critic.prior == "head")
NEW_PARTS = When(
    "prior: head or without label_tags",
    lambda config: config.critic.prior == "head" or config.critic.label_tags is None,
)

VALUE_HEAD = ("value_link", "value_hidden", "value_loss", "value_coef", "value_lam", "new_learning_rate")
"""What a value head that trains reads: what it is, and how it learns."""


def reads(*names: str, when: When = ALWAYS) -> dict[str, When]:
    """These settings, under one condition."""
    return dict.fromkeys(names, when)


class CriticKind(NamedTuple):
    """What a kind of critic is; its file has the three functions that need torch."""

    help: str
    """What is trained, in one line."""
    module: str
    """File with `spec`, `stage` and `read`."""
    reads: Reads
    """Settings that its training reads, of those that not every stage reads."""
    needs_reference: bool = False
    """Whether it is read beside a frozen reference."""

    def spec(self, config: "RunConfig", tokenizer: Any = None) -> Any:
        """What weighted_mtp.json says of the model beyond a value head: a `CriticSpec`, None for nothing."""
        return self._function("spec")(config, tokenizer)

    def stage(self, config: "RunConfig", tokenizer: Any) -> Any:
        """The `Stage` that trains it."""
        return self._function("stage")(config, tokenizer)

    def read(self, model: Any, path: str, dtype: str, reference: str | None) -> Any:
        """The trained `Critic` in a directory, its model loaded already."""
        return self._function("read")(model, path, dtype, reference)

    def _function(self, name: str) -> Callable[..., Any]:
        return getattr(importlib.import_module(self.module), name)


CRITICS: dict[str, CriticKind] = {
    "value_head": CriticKind(
        "a head on the hidden state, by value_loss",
        "weighted_mtp.training.critics.value_head",
        reads=reads(*VALUE_HEAD, "freeze_trunk") | reads("lm_coef", when=TRAINED_TRUNK),
    ),
    "generative": CriticKind(
        "one language model of all completions, told the label of each",
        "weighted_mtp.training.critics.generative",
        reads=reads("lm_coef", "label_tags", "prior")
        | reads("value_coef", when=LEARNED_PRIOR)
        | reads("new_learning_rate", when=NEW_PARTS),
    ),
    "implicit": CriticKind(
        "a model whose log-ratio to a frozen reference tells the label",
        "weighted_mtp.training.critics.implicit",
        reads=reads("value_coef", "reward_beta", "reference", "new_learning_rate"),
        needs_reference=True,
    ),
}


def critic_kind(name: str) -> CriticKind:
    """The row of that name; ConfigError lists the choices where there is none."""
    if name not in CRITICS:
        raise ConfigError(f"critic is {name!r}: stage critic trains one of {', '.join(CRITICS)}")
    return CRITICS[name]


def load_critic(
    path: str | PathLike[str], dtype: str = "auto", reference: str | None = None, attn_implementation: str | None = None
) -> Any:
    """The `Critic` that a `wmtp train critic` run left, of whichever kind its weighted_mtp.json names.

    `reference` is that of an implicit critic, where it lies elsewhere than the critic says.
    """
    from weighted_mtp.models import MTPModel

    path = fspath(path)
    model = MTPModel.from_pretrained(path, n_future=1, dtype=dtype, attn_implementation=attn_implementation)
    if model.value_head is None:
        raise ConfigError(f"critic {path} has no value head: train it with `wmtp train critic`")
    kind = "value_head" if model.critic is None else model.critic.kind
    return critic_kind(kind).read(model, path, dtype, reference)
