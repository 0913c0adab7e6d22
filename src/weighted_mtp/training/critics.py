"""Three critics, one contract: values P(success | prefix) and credit of every response token, from a frozen model.

| critic     | credit of the token predicted at t          | values                                   |
|------------|---------------------------------------------|------------------------------------------|
| value head | none of its own: take the TD error          | link of a head on the hidden state       |
| generative | log p(x, given right) - log p(x, given wrong) | exact by Bayes' rule, given prior and model |
| implicit   | beta * (log p(x) - log p_ref(x))            | a proxy before the last token            |
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from weighted_mtp.losses import mtp_nll
from weighted_mtp.models import RIGHT, UNTOLD, WRONG, MTPModel
from weighted_mtp.training.batch import TokenBatch
from weighted_mtp.training.settings import ConfigError
from weighted_mtp.value_weighting import values_from_credit


class Judgement(NamedTuple):
    """What a critic says about a batch, prediction-aligned and without gradient."""

    values: Float[Tensor, "batch seq"]
    """P(success) given the prefix that includes token t."""
    credit: Float[Tensor, "batch seq"] | None
    """By how much the token predicted at t moves the log-odds of success; None: take the TD error."""


@dataclass(frozen=True)
class Critic:
    """A value head on the hidden state, the published critic where it is linear; base of the others.

    Args:
        model: read, never trained here.
    """

    model: MTPModel

    gives_credit: ClassVar[bool] = False
    """Whether it has a credit beyond the TD error of its values."""

    def judge(self, batch: TokenBatch) -> Judgement:
        """Values and credit of a batch."""
        with torch.no_grad():
            outputs = self.model.trunk_forward(batch.input_ids, batch.attention_mask)
        return Judgement(outputs["values"].squeeze(-1), None)

    def models(self) -> list[MTPModel]:
        """All models it reads."""
        return [self.model]


@dataclass(frozen=True)
class GenerativeCritic(Critic):
    """One language model of right and wrong completions; credit is the log-ratio of its two predictions.

        credit[t] = log p(x_t+1 | x_<=t, right) - log p(x_t+1 | x_<=t, wrong)
        V[t] = sigmoid(prior + sum of credit[s], s < t)

    By Bayes' rule the first is exactly the change of the log-odds of success that the token causes, so prior and
    credits sum to the log-odds after the whole completion.
    """

    gives_credit: ClassVar[bool] = True

    @torch.no_grad()
    def judge(self, batch: TokenBatch) -> Judgement:
        """Values and credit: one forward pass of every row under each label."""
        rows = len(batch.input_ids)
        told = [RIGHT, WRONG, UNTOLD] if self._learned_prior else [RIGHT, WRONG]
        # filled on the device: copying a list from the host would wait for it
        condition = torch.cat([torch.full((rows,), label, device=batch.input_ids.device) for label in told])
        outputs = self.model(
            batch.input_ids.repeat(len(told), 1),
            batch.attention_mask.repeat(len(told), 1),
            condition=condition,
        )
        targets = batch.targets[..., :1].repeat(2, 1, 1)
        hidden = outputs["hidden_states"][: 2 * rows, :, :1]
        right, wrong = mtp_nll(hidden, targets=targets, **self.model.output_head()).squeeze(-1).split(rows)
        credit = wrong - right
        logits = outputs["value_logits"][-rows:].squeeze(-1)
        return Judgement(values_from_credit(credit, at_last_prompt_token(logits, batch), batch.mask), credit)

    @property
    def _learned_prior(self) -> bool:
        return self.model.critic is not None and self.model.critic.prior == "head"


@dataclass(frozen=True)
class ImplicitCritic(Critic):
    """A model trained so that its log-ratio to a reference tells right from wrong completions.

        credit[t] = beta * (log p(x_t+1 | x_<=t) - log p_ref(x_t+1 | x_<=t))

    Source: Yuan et al. 2024, arXiv 2412.01981; Cui et al. 2025 (PRIME), arXiv 2502.01456.
    """

    reference: MTPModel
    beta: float
    gives_credit: ClassVar[bool] = True

    @torch.no_grad()
    def judge(self, batch: TokenBatch) -> Judgement:
        """Values, a proxy before the last token, and credit."""
        credit = self.beta * (next_token_nll(self.reference, batch) - next_token_nll(self.model, batch))
        prior = prior_of(self.model)
        return Judgement(values_from_credit(credit, prior, batch.mask), credit)

    def models(self) -> list[MTPModel]:
        """The trained model and its reference."""
        return [self.model, self.reference]


def load_critic(path: str, dtype: str = "auto", reference: str | None = None) -> Critic:
    """The critic that a `wmtp train critic` run left, of whichever kind its config.json names.

    Args:
        path: its directory.
        dtype: precision of its parameters.
        reference: of an implicit critic, where it lies elsewhere than the critic says.

    Raises:
        ConfigError: there is no critic, or the reference is missing.
    """
    model = MTPModel.from_pretrained(path, n_future=1, dtype=dtype)
    if model.value_head is None:
        raise ConfigError(f"critic {path} has no value head: train it with `wmtp train critic`")
    spec = model.critic
    if spec is None:
        return Critic(model)
    if spec.kind == "generative":
        return GenerativeCritic(model)
    where = reference or spec.reference
    try:
        assert where is not None, "an implicit critic is saved with its reference"
        frozen = MTPModel.from_pretrained(where, n_future=1, critic=False, dtype=dtype)
    except ValueError as error:
        raise ConfigError(
            f"critic {path} compares with the reference {where}, which cannot be read ({error}): give its "
            "directory as `reference`"
        ) from None
    return ImplicitCritic(model, frozen, spec.reward_beta)


def next_token_nll(model: MTPModel, batch: TokenBatch) -> Float[Tensor, "batch seq"]:
    """A model's loss on every next token, in nats, without gradient."""
    hidden = model.trunk_forward(batch.input_ids, batch.attention_mask)["hidden_states"]
    return mtp_nll(hidden[:, :, None], targets=batch.targets[..., :1], **model.output_head()).squeeze(-1)


def at_last_prompt_token(x: Float[Tensor, "batch seq"], batch: TokenBatch) -> Float[Tensor, " batch"]:
    """Each row's entry at the position that predicts its first response token."""
    return x.gather(1, batch.mask.long().argmax(1, keepdim=True)).squeeze(1)


def prior_of(model: MTPModel) -> Float[Tensor, ""]:
    """Log-odds of success before any completion: the bias of the value head."""
    assert model.value_head is not None, "a generative or implicit critic is built with a value head"
    return model.value_head.bias[0]
