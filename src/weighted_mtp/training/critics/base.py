"""Critics, one contract: values P(success | prefix) and credit of every response token, from a frozen model.

Here too is what every kind asks of its rows before it learns, and of a critic before anything is weighed by it.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from datasets import Dataset
from jaxtyping import Float
from torch import Tensor

from weighted_mtp.data import is_right
from weighted_mtp.losses import mtp_nll
from weighted_mtp.models import MTPModel
from weighted_mtp.training.batch import TokenBatch
from weighted_mtp.training.errors import ConfigError, require


class Judgement(NamedTuple):
    """What a critic says about a batch, prediction-aligned and without gradient."""

    values: Float[Tensor, "batch seq"]
    """P(success) given the prefix that includes token t."""
    credit: Float[Tensor, "batch seq"] | None
    """By how much the token predicted at t moves the log-odds of success; None: take the TD error."""


@dataclass(frozen=True)
class Critic:
    """Base of the critics."""

    model: MTPModel
    """Read, never trained here."""

    gives_credit: ClassVar[bool] = False
    """Whether it has a credit beyond the TD error of its values."""
    reads_reference: ClassVar[bool] = False
    """Whether it is compared with a reference."""

    def judge(self, batch: TokenBatch) -> Judgement:
        """Values and credit of a batch."""
        raise NotImplementedError(f"{type(self).__name__} needs a method judge(batch)")

    def models(self) -> list[MTPModel]:
        """All models it reads."""
        return [self.model]


def next_token_nll(model: MTPModel, batch: TokenBatch) -> Float[Tensor, "batch seq"]:
    """A model's loss on every next token, in nats, without gradient."""
    hidden = model.trunk_forward(**batch.rows)["hidden_states"]
    nll = mtp_nll(hidden[:, :, None], targets=batch.hidden_targets[..., :1], **model.output_head())
    return batch.by_row(nll).squeeze(-1)


def at_last_prompt_token(x: Float[Tensor, "batch seq"], batch: TokenBatch) -> Float[Tensor, " batch"]:
    """Each row's entry at the position that predicts its first response token."""
    return x.gather(1, batch.mask.long().argmax(1, keepdim=True)).squeeze(1)


def prior_of(model: MTPModel) -> Float[Tensor, ""]:
    """Log-odds of success before any completion: the bias of the value head."""
    assert model.value_head is not None, "a generative or implicit critic is built with a value head"
    return model.value_head.bias[0]


def require_outcomes(rows: Dataset, what: str, bounded: bool = True) -> None:
    """Raises ConfigError where `what` cannot learn P(success): all rows have one reward, or some is no probability."""
    rewards = set(rows["reward"])
    if bounded:
        _require_probabilities(rows, what, min(rewards), max(rewards))
    if len(rewards) == 1:
        (reward,) = rewards
        which = {0.0: "wrong", 1.0: "right"}.get(reward, f"rewarded {reward:g}")
        raise ConfigError(
            f"all {len(rows)} rows are {which}: {what} needs right and wrong ones, so give rows of both "
            "(`keep: right` drops the wrong ones)"
        )


def _require_probabilities(rows: Dataset, what: str, low: float, high: float) -> None:
    """Refuses rewards, and sums of the steps from any of them on, that no probability can be."""
    name = "rewards"
    if low >= 0 and high <= 1 and "rewards" in rows.column_names:
        name = "sums of the rewards of steps to come"
        sums = [np.cumsum(paid[::-1]) for paid in rows["rewards"]]
        low, high = min(x.min() for x in sums), max(x.max() for x in sums)
    require(
        low >= -1e-4 and high <= 1 + 1e-4,
        f"{name} lie between {low:g} and {high:g}: {what} learns P(success), so scale them into [0, 1]"
        + (", or give value_link: identity with value_loss: mse or lambda" if what == "a value head" else ""),
    )


def start_prior(model: MTPModel, rows: Dataset) -> None:
    """Lets the fresh head of a critic that is a language model start from the share of right rows; a prior that is the
    base rate keeps no weights."""
    spec, head = model.critic, model.value_head
    assert spec is not None, "the model is a generative or an implicit critic"
    assert head is not None, "such a model is built with a value head"
    require_outcomes(rows, f"a {spec.kind} critic")
    share = sum(map(is_right, rows["reward"])) / len(rows)
    require(0 < share < 1, f"no row, or every row, is rewarded more than .5: a {spec.kind} critic needs both kinds")
    if not (head.weight.any() or head.bias.any()):  # else it was learned before
        torch.nn.init.constant_(head.bias, math.log(share / (1 - share)))
    if spec.prior == "base_rate":
        head.weight.requires_grad_(False)


JUDGED_ROWS = 64
SMALLEST_SPREAD = 1e-6
"""Of values, or of credit in log-odds; float32 rounds a value near .5 to 6e-8."""


def require_spread(critic: Critic, rows: Dataset, collate: Callable[..., dict[str, Any]], name: str) -> None:
    """Refuses a critic whose credit, or whose values where it has no credit, is one number for all tokens.

    Rows are judged one at a time until two tokens differ. No randomness is used up; processes look at the same rows.
    """
    low, high, tokens = math.inf, -math.inf, 0
    some = rows.select(range(min(JUDGED_ROWS, len(rows))))
    with _undisturbed(critic):
        for row in some:
            batch = TokenBatch.from_inputs(collate([row]), n_future=1, device=critic.model.device)
            values, credit = critic.judge(batch)
            said = (values if credit is None else credit)[batch.mask]
            tokens += said.numel()
            if said.numel():
                low, high = min(low, said.min().item()), max(high, said.max().item())
            if tokens > 1 and not high - low <= SMALLEST_SPREAD:
                return
    if tokens > 1:
        what = "credit" if critic.gives_credit else "value"
        raise ConfigError(
            f"critic {name} tells no token from another (over the {tokens} labelled tokens of {len(some)} rows its "
            f"{what} goes from {low:.9g} to {high:.9g}), so weights would mean nothing: train it with "
            "`wmtp train critic`, longer or at a higher learning rate than so far"
        )


@contextmanager
def _undisturbed(critic: Critic) -> Iterator[None]:
    """While inside, the critic's models are in evaluation mode; random state and modes are then as they were."""
    modes = [(module, module.training) for model in critic.models() for module in model.modules()]
    device = critic.model.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for model in critic.models():
            model.eval()
        yield
    for module, mode in modes:
        module.training = mode
