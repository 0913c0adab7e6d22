"""The stages of training by name: one row holds all that differs.

Nothing heavy is imported, so that `wmtp --help` answers at once.
"""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from weighted_mtp.training.critics.table import critic_kind
from weighted_mtp.training.reads import OWN_HEAD, VALUE_HEAD, Reads, reads
from weighted_mtp.training.settings import KINDS_OF_CRITIC, ConfigError, require

if TYPE_CHECKING:
    from weighted_mtp.training.config import RunConfig


class StageRow(NamedTuple):
    """What a stage is."""

    help: str
    """One line for the command line."""
    scheme: str
    """Its weighting scheme, where the configuration names none."""
    loader: str
    """Function of `weighted_mtp.training.stages` that builds it from a configuration and a tokenizer."""
    check: Callable[["RunConfig"], None]
    """Raises ConfigError where settings of the run do not fit."""
    reads: Reads
    """Settings that it reads of those that not every stage reads; one that trains a critic, also those of the kind."""
    trains_critic: bool = False
    """Whether what it trains is a critic, of the kind that `critic` names, rather than a policy."""

    def load(self, config: "RunConfig", tokenizer: Any) -> Any:
        """The stage with its frozen models."""
        return getattr(importlib.import_module("weighted_mtp.training.stages"), self.loader)(config, tokenizer)


def stage_row(name: str) -> StageRow:
    """The row of that name.

    Raises:
        ConfigError: there is none; the choices are listed.
    """
    if name not in STAGE_TABLE:
        raise ConfigError(f"stage is {name!r}: give one of {', '.join(STAGE_TABLE)}")
    return STAGE_TABLE[name]


def _check_baseline(config: "RunConfig") -> None:
    """All settings that it reads fit."""


def _check_verifiable(config: "RunConfig") -> None:
    critic = config.critic.critic
    if critic in KINDS_OF_CRITIC:
        raise ConfigError(
            f"critic is {critic!r}: stage {config.stage} reads a critic, so give the directory of one "
            f"that `wmtp train critic --critic {critic}` left"
        )


def _check_critic(config: "RunConfig") -> None:
    n_future = config.model.n_future
    require(
        not (config.critic.freeze_trunk and config.model.lora_rank),
        "freeze_trunk and lora_rank are both set: adapters would train the trunk; give one of them",
    )
    require(n_future == 1, f"stage critic has one head, but n_future is {n_future}: leave it at 1")
    critic_kind(config.critic.kind)  # raises where there is none


def _check_rho1(config: "RunConfig") -> None:
    require(
        config.reference.reference is not None,
        "stage rho1 needs a reference model: give --reference DIR (a model trained on right rows, say)",
    )


STAGE_TABLE: dict[str, StageRow] = {
    "baseline": StageRow(
        "stage 0: uniform weights (or a weights column)", "uniform", "load_baseline", _check_baseline, reads=reads()
    ),
    "critic": StageRow(
        "stage 1: V(prefix) = P(success) from the labels",
        "uniform",
        "load_critic_stage",
        _check_critic,
        reads=reads("critic"),
        trains_critic=True,
    ),
    "verifiable": StageRow(
        "stage 2: weights from the critic's TD errors",
        "td",
        "load_verifiable",
        _check_verifiable,
        reads=reads("critic") | reads(*VALUE_HEAD, when=OWN_HEAD),
    ),
    "rho1": StageRow(
        "stage 3: the tokens with the largest excess loss over a reference",
        "rho1",
        "load_rho1",
        _check_rho1,
        reads=reads("reference"),
    ),
}
