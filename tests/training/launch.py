"""Runs one `wmtp train` in a process of its own, with an accident at a given step. Not a test; tests start it.

usage: python launch.py CONFIG.yaml [--resume auto] [--kill_at N | --interrupt_at N | --kill_in_save_at N]
"""

import argparse
import os
import signal
import sys
from pathlib import Path

import torch
import yaml
from transformers import TrainerCallback

from weighted_mtp.training import run as run_module
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.quiet import quiet_libraries
from weighted_mtp.training.trainer import WeightedMTPTrainer


class Accident(TrainerCallback):
    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def on_optimizer_step(self, args, state, control, **kwargs) -> None:
        if state.global_step + 1 == self.step:
            os.kill(os.getpid(), self.number)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    parser.add_argument("--resume")
    parser.add_argument("--kill_at", type=int)
    parser.add_argument("--interrupt_at", type=int)
    parser.add_argument("--kill_in_save_at", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    quiet_libraries()
    config = RunConfig.from_flat(yaml.safe_load(Path(options.config).read_text()))
    accidents: list[TrainerCallback] = []
    if options.kill_at:
        accidents.append(Accident(options.kill_at, signal.SIGKILL))
    if options.interrupt_at:
        accidents.append(Accident(options.interrupt_at, signal.SIGINT))
    if options.kill_in_save_at:
        save = WeightedMTPTrainer._save_optimizer_and_scheduler

        def die_in_save(trainer: WeightedMTPTrainer, folder: str) -> None:
            if trainer.state.global_step == options.kill_in_save_at:
                os.kill(os.getpid(), signal.SIGKILL)
            save(trainer, folder)

        WeightedMTPTrainer._save_optimizer_and_scheduler = die_in_save
    make = run_module.make_trainer
    run_module.make_trainer = lambda config, inputs, **_: make(
        config, inputs, quiet=True, callbacks=accidents
    )
    try:
        run_module.train(config, options.resume)
    except run_module.Interrupted as stop:
        print(stop, file=sys.stderr)
        return 130
    except ValueError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
