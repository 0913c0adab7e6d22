"""Learning rates: one of its own for what starts from nothing, and new ones for a run that is resumed with changes."""

from pathlib import Path
from typing import Any

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


HELD_BY_GROUPS = ("params", "lr", "initial_lr")


def rates(optimizer: Any) -> list[dict[str, Any]]:
    """Settings of every parameter group, `lr` the peak, as the scheduler was made with it."""
    return [
        {name: value for name, value in group.items() if name not in HELD_BY_GROUPS}
        | {"lr": float(group.get("initial_lr", group["lr"]))}
        for group in optimizer.param_groups
    ]


def apply_rates(fresh: list[dict[str, Any]], optimizer: Any, scheduler: Any) -> None:
    """Puts the settings of now over those that a checkpoint brought, at the scheduler's step; in place.

    Args:
        fresh: `rates` of the optimizer before the checkpoint was loaded.
        optimizer: after it was.
        scheduler: after it was; of its state only the step stays.
    """
    peaks = [settings["lr"] for settings in fresh]
    factors = [factor(scheduler.last_epoch) for factor in getattr(scheduler, "lr_lambdas", [])] or [1.0] * len(peaks)
    for group, settings, factor in zip(optimizer.param_groups, fresh, factors, strict=True):
        group.update(settings | {"lr": settings["lr"] * factor, "initial_lr": settings["lr"]})
    scheduler.base_lrs = peaks
    scheduler._last_lr = [float(group["lr"]) for group in optimizer.param_groups]


def check_state(optimizer: Optimizer, path: str | Path) -> None:
    """Raises ValueError unless an optimizer's saved state is of these parameters."""
    saved = torch.load(path, map_location="cpu", weights_only=True)
    groups, own = saved["param_groups"], optimizer.param_groups
    if [len(g["params"]) for g in groups] != [len(g["params"]) for g in own]:
        raise ValueError("the optimizer holds other groups of parameters")
    for index, parameter in zip(
        (i for g in groups for i in g["params"]), (p for g in own for p in g["params"]), strict=True
    ):
        for name, value in saved["state"].get(index, {}).items():
            if torch.is_tensor(value) and value.ndim and value.shape != parameter.shape:
                raise ValueError(f"the optimizer's {name} is of another shape")
