"""The stages of training by name: one row holds all that differs. Importing this file imports nothing heavy."""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from weighted_mtp.training.critics.table import CRITICS, VALUE_HEAD, Reads, When, critic_kind, reads
from weighted_mtp.training.errors import ConfigError, require

if TYPE_CHECKING:
    from weighted_mtp.training.config import RunConfig

OWN_HEAD = When("its own value head", lambda config: config.separate_critic is None)
TRAINED_HEAD = When(
    "its own value head, without freeze", lambda config: OWN_HEAD.holds(config) and config.model.freeze is None
)


class StageRow(NamedTuple):
    """What a stage is."""

    help: str
    """One line for the command line."""
    scheme: str
    """Its weighting scheme, where the configuration names none."""
    loader: str
    """module:function that builds it from a configuration and a tokenizer, with its frozen models; where the stage
    reads a critic, also from a loaded one."""
    reads: Reads
    """Settings that it reads of those that not every stage reads; one that trains a critic, also those of the kind."""
    check: "Callable[[RunConfig], None]" = lambda config: None
    """Raises ConfigError where settings of the run do not fit."""
    trains_critic: bool = False
    """Whether what it trains is a critic, of the kind that `critic` names, rather than a policy."""
    reads_critic: bool = False
    """Whether it weighs rows by what a critic says: a separate one, its own value head, or columns of the rows."""

    def load(self, config: "RunConfig", tokenizer: Any, critic: Any = None) -> Any:
        """The `Stage` with its frozen models; the separate critic may be loaded already."""
        module, function = self.loader.split(":")
        loaded = {} if critic is None else {"critic": critic}
        return getattr(importlib.import_module(module), function)(config, tokenizer, **loaded)


def _check_verifiable(config: "RunConfig") -> None:
    critic = config.critic.critic
    if critic in CRITICS:
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
        "stage 0: uniform weights (or a weights column)",
        "uniform",
        "weighted_mtp.training.stages:load_baseline",
        reads=reads(),
    ),
    "critic": StageRow(
        "stage 1: V(prefix) = P(success) from the labels",
        "uniform",
        "weighted_mtp.training.stages:load_critic_stage",
        reads=reads("critic"),
        check=_check_critic,
        trains_critic=True,
    ),
    "verifiable": StageRow(
        "stage 2: critic-weighted fine-tuning, weights from right rows and, as far as it has skill, a critic's credit",
        "gated",
        "weighted_mtp.training.stages:load_verifiable",
        reads=reads("critic") | reads(*VALUE_HEAD[:2], when=OWN_HEAD) | reads(*VALUE_HEAD[2:], when=TRAINED_HEAD),
        check=_check_verifiable,
        reads_critic=True,
    ),
    "rho1": StageRow(
        "stage 3: the tokens with the largest excess loss over a reference",
        "rho1",
        "weighted_mtp.training.stages:load_rho1",
        reads=reads("reference"),
        check=_check_rho1,
    ),
}


def stage_row(name: str) -> StageRow:
    """The row of that name; ConfigError lists the choices where there is none."""
    if name not in STAGE_TABLE:
        raise ConfigError(f"stage is {name!r}: give one of {', '.join(STAGE_TABLE)}")
    return STAGE_TABLE[name]
