"""The value head: P(success | prefix) read from the hidden state, by the stages that train it or read it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from weighted_mtp.losses import pairwise_ranking, value_bce, value_mse
from weighted_mtp.models import CriticSpec, MTPModel
from weighted_mtp.training.batch import BatchCounts, TokenBatch
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.critics.base import Critic, Judgement, require_outcomes
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.stage import Stage
from weighted_mtp.value_weighting import Signals, compute_lambda_returns


@dataclass(frozen=True)
class ValueHeadCritic(Critic):
    """A value head on the hidden state, the critic of outcome reward models where it is linear."""

    def judge(self, batch: TokenBatch) -> Judgement:
        """Values of a batch; credit is the TD error."""
        with torch.no_grad():
            outputs = self.model.trunk_forward(**batch.rows)
        return Judgement(outputs["values"].squeeze(-1), None)


@dataclass
class ValueStage(Stage):
    """Stages 1 and 2: values from the model's own head (detached), a frozen critic or, in stage 2, the data."""

    critic: Critic | None = None
    """Separate and frozen, of any kind; None reads the trained model's own value head."""
    value_objective: str = "mse"
    """A name in OBJECTIVES."""
    lam: float = 0.95
    """lambda of the lambda-returns, in [0, 1]."""
    reads_own_head: bool = False
    """Whether weights are made of the values of the trained model's own head, which must then have learned before."""
    supplies: tuple[str, ...] = (*Stage.supplies, "values")

    def __post_init__(self) -> None:
        if self.critic is not None and self.critic.gives_credit:
            self.supplies = (*self.supplies, "credit")

    def _known(self, batch: TokenBatch, outputs: Mapping[str, Tensor], model: MTPModel) -> dict[str, Any]:
        weighs = self.critic is not None or self.reads_own_head
        if weighs and batch.values is not None:
            return super()._known(batch, outputs, model)
        if self.critic is not None:
            return self.critic.judge(batch)._asdict()
        # what stage 1 trains is what its metrics are about, whatever values the rows bring
        return {"values": outputs["values"].detach().squeeze(-1), "credit": batch.credit}

    @property
    def needs_value_head(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the trained model has the head that is learned."""
        return self.critic is None

    @property
    def reads_reference(self) -> bool:
        """Whether it, or its critic, is compared with the run's reference."""
        return super().reads_reference or (self.critic is not None and self.critic.reads_reference)

    @property
    def undiscounted(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """A ranking, or a critic that reckons in log-odds."""
        if self.critic is not None:
            return "its critic gives P(success), undiscounted" if self.critic.gives_credit else None
        if not objective(self.value_objective).discounts:
            return f"value_loss {self.value_objective} learns no scale that could be discounted"
        return None

    def prepare(self, model: MTPModel, rows: Dataset) -> None:
        """Refuses a head that would know nothing: never trained and read, or trained on one outcome."""
        if self.critic is not None:
            return
        if self.judged_by(model, rows) is not None and knows_nothing(model):
            raise ConfigError(
                "the value head of the model to train was never trained (it is missing, or its weight is all 0), so "
                "every value is the same and weights mean nothing: train one with `wmtp train critic` and start from "
                "its directory, or name that as `critic`, or give rows a `values` column"
            )
        if self.value_coef > 0:
            kind = objective(self.value_objective)
            assert model.value_head is not None, "load_model adds it"
            for require in kind.requires:
                require(rows, "a value head", kind.bounded or model.value_head.link == "sigmoid")

    def judged_by(self, model: MTPModel, rows: Dataset) -> Critic | None:
        """The separate critic, or the model's own head, unless rows bring their values or the scheme reads none."""
        if self.critic is not None:
            return self.critic
        reads = self.reads_own_head and "values" in self.wanted and "values" not in rows.column_names
        return ValueHeadCritic(model) if reads else None

    @property
    def ranks_pairs(self) -> bool:
        """Whether it learns from right and wrong completions of one prompt that meet in a batch."""
        return self.critic is None and self.value_coef > 0 and objective(self.value_objective).counted == "pairs"

    def value_loss(
        self, batch: TokenBatch, outputs: Mapping[str, Tensor], counts: BatchCounts, model: MTPModel
    ) -> Tensor | None:
        """MSE or cross-entropy to the discounted reward, MSE to lambda-returns, or ranking within a prompt."""
        if "values" not in outputs:
            return None
        return objective(self.value_objective).loss(self, batch, outputs, self.value_normalizer(counts))

    def value_normalizer(self, counts: BatchCounts) -> Tensor:
        """Pairs for the ranking objective, positions for the others."""
        return getattr(counts, objective(self.value_objective).counted)

    def frozen_models(self) -> list[MTPModel]:
        """Those of the separate critic, if there is one."""
        return [*super().frozen_models(), *([] if self.critic is None else self.critic.models())]


def _returns(stage: ValueStage, batch: TokenBatch) -> Tensor:
    """What a calibrated critic says: gamma^k * R with k tokens still to come, so that its TD errors average 0."""
    return Signals(mask=batch.mask, valid=batch.valid, rewards=batch.paid, gamma=stage.gamma).returns


def _mse(stage: ValueStage, batch: TokenBatch, outputs: Mapping[str, Tensor], normalizer: Tensor) -> Tensor:
    return value_mse(outputs["values"].squeeze(-1), _returns(stage, batch), batch.mask, normalizer=normalizer)


def _bce(stage: ValueStage, batch: TokenBatch, outputs: Mapping[str, Tensor], normalizer: Tensor) -> Tensor:
    return value_bce(outputs["value_logits"].squeeze(-1), _returns(stage, batch), batch.mask, normalizer=normalizer)


def _lambda(stage: ValueStage, batch: TokenBatch, outputs: Mapping[str, Tensor], normalizer: Tensor) -> Tensor:
    values = outputs["values"].squeeze(-1)
    returns = compute_lambda_returns(values.detach(), batch.paid, batch.mask, stage.gamma, stage.lam)
    return value_mse(values, returns, batch.mask, normalizer=normalizer)


def _pairwise(stage: ValueStage, batch: TokenBatch, outputs: Mapping[str, Tensor], normalizer: Tensor) -> Tensor:
    logits = outputs["value_logits"].squeeze(-1)
    return pairwise_ranking(logits, batch.rewards, batch.prompt_ids, batch.mask, normalizer=normalizer)


def knows_nothing(model: MTPModel) -> bool:
    """Whether the value head gives one value to all that it reads, as it starts: a bias alone, dead hidden units."""
    head = model.value_head
    if head is None:
        return True
    read = head.weight[0] != 0
    if head.hidden is not None:
        read = read & (head.hidden.weight != 0).any(1)
    return not bool(read.any())


def require_pairs(rows: Dataset, what: str, bounded: bool) -> None:
    """Raises ConfigError where no prompt has a better and a worse completion, which a ranking learns from."""
    if not holds_pair(zip(rows["prompt_id"], rows["reward"], strict=True)):
        raise ConfigError(
            f"{what} with value_loss pairwise learns from right and wrong completions of one prompt, and none of the "
            f"{len(rows)} rows shares its prompt with a row of the other label: give such rows, or another value_loss"
        )


def holds_pair(told: Iterable[tuple[int, float]]) -> bool:
    """Whether two of these rows, each its prompt and reward, are a better and a worse completion of one prompt."""
    first: dict[int, float] = {}
    return any(first.setdefault(prompt, reward) != reward for prompt, reward in told)


class Objective(NamedTuple):
    """What a value head minimises."""

    loss: Callable[[ValueStage, TokenBatch, Mapping[str, Tensor], Tensor], Tensor]
    """(stage, batch, outputs, normalizer) -> the loss."""
    counted: str
    """Which of `BatchCounts` it is divided by."""
    discounts: bool = True
    """Whether its targets can be discounted."""
    bounded: bool = False
    """Whether its targets must be probabilities, whatever the link."""
    requires: tuple[Callable[[Dataset, str, bool], None], ...] = (require_outcomes,)
    """What rows must pass, each (rows, what learns from them, whether rewards are bounded); raises ConfigError."""


OBJECTIVES: dict[str, Objective] = {
    "mse": Objective(_mse, "positions"),
    "bce": Objective(_bce, "positions", bounded=True),
    "pairwise": Objective(_pairwise, "pairs", discounts=False, requires=(require_outcomes, require_pairs)),
    "lambda": Objective(_lambda, "positions"),
}


def objective(name: str) -> Objective:
    """The row of that name."""
    if name not in OBJECTIVES:
        raise ConfigError(f"value_loss is {name!r}: give one of {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name]


def spec(config: RunConfig, tokenizer: Any) -> CriticSpec | None:
    """Nothing beyond the head."""
    return None


def stage(config: RunConfig, tokenizer: PreTrainedTokenizerBase) -> Stage:
    """Stage 1 of this critic."""
    settings = config.critic
    return ValueStage(
        value_objective=settings.value_loss,
        lam=settings.value_lam,
        lm_coef=0.0 if settings.freeze_trunk else settings.lm_coef,
        gamma=config.weighting.gamma,
        value_coef=settings.value_coef,
    )


def read(model: MTPModel, path: str, dtype: str, reference: str | None) -> Critic:
    """The critic that its training left."""
    if knows_nothing(model):
        raise ConfigError(
            f"critic {path} has a value head that was never trained (its weight is all 0): train it with "
            "`wmtp train critic`"
        )
    return ValueHeadCritic(model)
