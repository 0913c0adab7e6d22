"""A critic that says the same of every token knows nothing: a look at a few rows before anything is weighed by it."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from datasets import Dataset
from jaxtyping import Float
from torch import Tensor

from weighted_mtp.training.batch import TokenBatch
from weighted_mtp.training.critics.base import Critic
from weighted_mtp.training.settings import ConfigError

JUDGED_ROWS = 64
SMALLEST_SPREAD = 1e-6
"""Of values, or of credit in log-odds; float32 rounds a value near .5 to 6e-8."""


def require_spread(critic: Critic, rows: Dataset, collate: Callable[..., dict[str, Any]], name: str) -> None:
    """Refuses a critic whose credit, or whose values where it has no credit, is one number for all tokens.

    Rows are judged one at a time until two tokens differ: of a critic that knows something, one is mostly enough. No
    randomness is used up, and every process looks at the same rows.

    Args:
        critic: with its models where they compute.
        rows: encoded rows; of the first `JUDGED_ROWS` at most is anything read.
        collate: makes a batch of rows.
        name: what the message calls it.

    Raises:
        ConfigError: with the numbers.
    """
    low, high, tokens = math.inf, -math.inf, 0
    some = rows.select(range(min(JUDGED_ROWS, len(rows))))
    with _undisturbed(critic):
        for row in some:
            said = _said(critic, collate([row]))
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


def _said(critic: Critic, inputs: dict[str, Any]) -> Float[Tensor, " tokens"]:
    device = critic.model.device
    batch = TokenBatch.from_inputs({name: x.to(device) for name, x in inputs.items()}, n_future=1)
    values, credit = critic.judge(batch)
    return (values if credit is None else credit)[batch.mask]


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
