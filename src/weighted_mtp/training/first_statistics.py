"""Running statistics before the first step, so that the first weights are in the unit of all later ones."""

from itertools import islice
from typing import Any

import torch

from weighted_mtp.training.batch import TokenBatch
from weighted_mtp.value_weighting import EMAWhitener, Signals, WeightingScheme, weigh

FIRST_STEPS = 8
"""Optimizer steps whose batches are looked at, forward only; their mean is that of 8 batches, not of one."""


def take_first_statistics(trainer: Any) -> int:
    """Shows the scheme the batches of the first optimizer steps, in their order, as training will.

    Steps end where they do in training, over micro-batches and processes, so that two ranks find what one process
    does. No randomness is used up: the order of rows, dropout and the control schemes stay as they were. A scheme that
    has its statistics, from a checkpoint, is left alone.
    """
    scheme: WeightingScheme = trainer.scheme
    if not scheme.needs_statistics():
        return 0
    device = trainer.args.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
        rows, steps = _signals_of_first_steps(trainer)
    for _ in range(2):  # the level of weights wants weights of a credit that has its unit
        _observe_what_is_missing(scheme, steps)
    return rows


def _observe_what_is_missing(scheme: WeightingScheme, steps: list[list[Signals]]) -> None:
    scheme.train()
    for part in scheme.modules():
        if isinstance(part, EMAWhitener):
            part.train(part.needs_statistics())
    if not scheme.needs_statistics():
        return
    for step in steps:
        for signals in step:
            weigh(scheme, signals)
        scheme.commit()


def _signals_of_first_steps(trainer: Any) -> tuple[int, list[list[Signals]]]:
    """How many rows, and the signals of each step's micro-batches, by the model in training mode."""
    accumulation, loader = trainer.args.gradient_accumulation_steps, trainer.train_batches()
    n_batches = min(FIRST_STEPS, trainer.state.max_steps) * accumulation
    model = trainer.model_wrapped if trainer.is_deepspeed_enabled else trainer.model
    was_training = model.training
    model.train()
    found = [_signals(trainer, model, inputs) for inputs in islice(loader, n_batches)]
    model.train(was_training)
    dealt = loader.batch_sampler
    rows = min(len(dealt.sampler), len(found) * dealt.world * dealt.batch_size)
    return rows, [found[i : i + accumulation] for i in range(0, len(found), accumulation)]


def _signals(trainer: Any, model: torch.nn.Module, inputs: dict[str, Any]) -> Signals:
    batch = TokenBatch.from_inputs(inputs, trainer.model.n_future, trainer.args.device)
    outputs = trainer.stage.forward(model, batch)
    with trainer.accelerator.autocast():
        return trainer.stage.signals(batch, outputs, trainer.model, trainer.seeded_generator())
