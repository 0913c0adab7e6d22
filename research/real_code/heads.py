"""Value heads on a frozen trunk, trained on the untrained model's states, which are computed once for all of them."""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from research.real_code.plan import check_head
from research.real_code.rows import sides
from research.real_code.tokens import Completions, Numbers
from weighted_mtp.losses import value_bce, value_mse
from weighted_mtp.models.value_head import ValueHead
from weighted_mtp.training.config import RunConfig


@dataclass(frozen=True)
class _Tokens:
    """States [1, n, dim] of the tokens of some rows, their returns and a mask [1, n]."""

    states: Tensor
    returns: Tensor
    mask: Tensor


def head_values(config: RunConfig, completions: Completions, states: NDArray[np.float16], fold: int) -> Numbers:
    """V before each labelled token of a fold's test rows, by the head that `config` describes.

    What `wmtp train critic --freeze_trunk true --lr_scheduler_type constant --max_grad_norm 0` trains: the same head,
    loss, optimizer and rows a step, without the trunk's forward in every step; its dropout-free trunk gives the same
    states each time. Weight decay is on biases too, and states are float16.

    Args:
        config: of a value head: value_hidden, value_loss, learning_rate, num_train_epochs, ...
        completions: all rows.
        states: [n, dim] of their labelled tokens.
        fold: whose tasks are held out.

    Raises:
        ConfigError: as `check_head`.
    """
    check_head(config)
    held = {side: [row["row"] for row in rows] for side, rows in sides(completions.rows, fold).items()}
    head = _train(config, completions, states, held["train"], held["valid"])
    with torch.no_grad():
        test = _tokens(completions, states, held["test"])
        return head.values(head(test.states)).double().squeeze().numpy()


def _train(
    config: RunConfig, completions: Completions, states: NDArray[np.float16], train: list[int], valid: list[int]
) -> ValueHead:
    """Trains until the loss on the rows set apart has not fallen at `early_stopping_patience` evaluations; the best."""
    settings = config.train
    torch.manual_seed(settings.seed)
    head = ValueHead(states.shape[1], config.model.value_link, config.model.value_hidden)
    optimizer = torch.optim.AdamW(head.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    apart, batches = _tokens(completions, states, valid), list(_batches(config, train))
    best, best_head, waited = math.inf, copy.deepcopy(head), 0
    for step, rows in enumerate(batches, start=1):
        optimizer.zero_grad()
        _loss(config, head, _tokens(completions, states, rows)).backward()
        optimizer.step()
        if step % settings.eval_steps and step < len(batches):
            continue
        with torch.no_grad():
            found = float(_loss(config, head, apart))
        waited = 0 if found < best else waited + 1
        if waited == 0:
            best, best_head = found, copy.deepcopy(head)
        if waited == settings.early_stopping_patience:
            break
    return best_head


def _batches(config: RunConfig, rows: list[int]) -> Iterator[NDArray[np.int64]]:
    """The rows of each step, shuffled anew in each epoch."""
    size, generator = config.train.per_device_train_batch_size, np.random.default_rng(config.train.seed)
    for _ in range(math.ceil(config.train.num_train_epochs)):
        shuffled = generator.permutation(rows)
        yield from (shuffled[start : start + size] for start in range(0, len(rows), size))


def _tokens(completions: Completions, states: NDArray[np.float16], rows: NDArray[np.int64] | list[int]) -> _Tokens:
    at = np.concatenate([np.arange(completions.starts[i], completions.starts[i + 1]) for i in rows])
    right = completions.right[completions.row_of[at]]
    returns = torch.from_numpy(right.astype(np.float32))[None]
    return _Tokens(torch.from_numpy(states[at]).float()[None], returns, torch.ones_like(returns, dtype=torch.bool))


def _loss(config: RunConfig, head: ValueHead, tokens: _Tokens) -> Tensor:
    logits = head(tokens.states)
    if config.critic.value_loss == "bce":
        return value_bce(logits.squeeze(-1), tokens.returns, tokens.mask)
    return value_mse(head.values(logits).squeeze(-1), tokens.returns, tokens.mask)
