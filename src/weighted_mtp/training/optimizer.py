"""A learning rate of its own for what starts from nothing beside pretrained weights."""

import torch
from torch.optim import Optimizer

from weighted_mtp.models import MTPModel


def separate_new_parts(optimizer: Optimizer, model: MTPModel, learning_rate: float) -> None:
    """Moves value head and label embedding into parameter groups with their own learning rate; in place.

    They start at zero, and Adam moves a weight by about the learning rate a step, whatever its gradient: what suits
    pretrained weights or adapters leaves them near zero for hundreds of steps. Schedulers scale every group's rate
    alike. Weight decay stays as it was.

    Args:
        optimizer: before any step, and before a scheduler is made of it.
        model: whose parameters it holds.
        learning_rate: peak, of these parts.
    """
    new = {id(parameter) for parameter in _new_parameters(model)}
    for group in list(optimizer.param_groups):
        taken = [parameter for parameter in group["params"] if id(parameter) in new]
        if not taken:
            continue
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in new]
        rest = {name: value for name, value in group.items() if name not in ("params", "lr", "initial_lr")}
        optimizer.add_param_group({"params": taken, "lr": learning_rate, **rest})
    # An emptied group in front would be the one whose learning rate is logged.
    optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]


def _new_parameters(model: MTPModel) -> list[torch.nn.Parameter]:
    parts = (model.value_head, model.label_condition)
    return [parameter for part in parts if part is not None for parameter in part.parameters()]
