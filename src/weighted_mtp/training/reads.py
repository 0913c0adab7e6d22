"""How the rows of the tables of stages and of critics name the settings that they read; `unread` refuses the others.

Nothing heavy is imported, so that `wmtp --help` answers at once.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from weighted_mtp.training.config import RunConfig


class When(NamedTuple):
    """A condition under which a setting is read."""

    said: str
    """In words that go behind "with"; empty: always."""
    holds: Callable[["RunConfig"], bool]
    """Whether it is met."""


Reads = Mapping[str, When]
"""Settings by name, and when each is read."""

ALWAYS = When("", lambda config: True)
OWN_HEAD = When("its own value head", lambda config: config.separate_critic is None)
TRAINED_TRUNK = When("freeze_trunk: false", lambda config: not config.critic.freeze_trunk)
LEARNED_PRIOR = When("prior: head", lambda config: config.critic.prior == "head")
NEW_PARTS = When(
    "prior: head or without label_tags",
    lambda config: config.critic.prior == "head" or config.critic.label_tags is None,
)

VALUE_HEAD = ("value_link", "value_hidden", "value_loss", "value_coef", "value_lam", "new_learning_rate")
"""What a value head that trains reads."""


def reads(*names: str, when: When = ALWAYS) -> dict[str, When]:
    """These settings, under one condition."""
    return dict.fromkeys(names, when)
