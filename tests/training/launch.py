"""`wmtp train` in a process of its own, with an accident at a given step. Not a test; tests call `launch`."""

import os
import signal
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import TrainerCallback

from tests.forked import start
from weighted_mtp.reports.quiet import quiet_libraries
from weighted_mtp.terminal import status_of
from weighted_mtp.training import run as run_module
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.trainer import WeightedMTPTrainer


class Ended(NamedTuple):
    """How a process ended: its exit status, minus the signal where one killed it, and what it said."""

    returncode: int | None
    stderr: str


def launch(
    config: RunConfig,
    *,
    resume: str | None = None,
    kill_at: int = 0,
    interrupt_at: int = 0,
    signals: tuple[signal.Signals, ...] = (signal.SIGINT,),
    kill_in_save_at: int = 0,
) -> Ended:
    """Trains in a process of its own until the end or the accident."""
    said = Path(f"{config.train.output_dir}.stderr")
    accidents = {
        "kill_at": kill_at,
        "interrupt_at": interrupt_at,
        "signals": signals,
        "kill_in_save_at": kill_in_save_at,
    }
    process = start(_launched, config.to_flat(), resume, accidents, said=said)
    process.join(timeout=280)
    return Ended(process.exitcode, said.read_text())


class Accident(TrainerCallback):
    def __init__(self, step: int, *numbers: int) -> None:
        self.step, self.numbers = step, numbers

    def on_optimizer_step(self, args, state, control, **kwargs) -> None:
        if state.global_step + 1 == self.step:
            for number in self.numbers:
                os.kill(os.getpid(), number)


def _launched(flat: dict[str, Any], resume: str | None, at: dict[str, Any]) -> None:
    sys.exit(_train(RunConfig.from_flat(flat), resume, at))


def _train(config: RunConfig, resume: str | None, at: dict[str, Any]) -> int:
    torch.set_num_threads(1)
    quiet_libraries()
    accidents: list[TrainerCallback] = []
    if at["kill_at"]:
        accidents.append(Accident(at["kill_at"], signal.SIGKILL))
    if at["interrupt_at"]:
        accidents.append(Accident(at["interrupt_at"], *at["signals"]))
    if at["kill_in_save_at"]:
        save = WeightedMTPTrainer._save_optimizer_and_scheduler

        def die_in_save(trainer: WeightedMTPTrainer, folder: str) -> None:
            if trainer.state.global_step == at["kill_in_save_at"]:
                os.kill(os.getpid(), signal.SIGKILL)
            save(trainer, folder)

        WeightedMTPTrainer._save_optimizer_and_scheduler = die_in_save
    make = run_module.make_trainer
    run_module.make_trainer = lambda config, inputs, **_: make(config, inputs, quiet=True, callbacks=accidents)
    try:
        run_module.train(config, resume)
    except run_module.Interrupted as stop:
        print(stop, file=sys.stderr)
        return status_of(stop)
    except ValueError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0
