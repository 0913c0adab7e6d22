"""kill -9 at random moments, the same command again, and what came of it beside the run that nobody killed.

python -m benchmarks.kills [--kills 20] [--worlds 1,2] [--arms baseline,critic,...,sample,improve,...]

Real processes on a tiny model. Every second moment is spread over the time of the run, the others over its file
operations. A run is killed up to four times before it ends. Takes three quarters of an hour on two busy cores of 2025.
"""

import argparse
import multiprocessing
import tempfile
from pathlib import Path

from benchmarks.kill_commands import COMMANDS, kill_command, make_command_inputs
from benchmarks.kill_training import ARMS, kill_training, make_training_inputs

PRELOADED = ["weighted_mtp.training.run", "weighted_mtp.training.trainer", "mlflow.store.tracking.sqlalchemy_store"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="of each arm")
    parser.add_argument("--worlds", default="1,2", help="numbers of processes")
    parser.add_argument("--arms", default=",".join([*ARMS, *COMMANDS]))
    given = parser.parse_args()
    arms = given.arms.split(",")
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
    print("| arm | processes | kills | in saves | runs | bitwise equal | every metric once, `FINISHED` |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "inputs"
        inputs.mkdir()
        if {*arms} & {*ARMS}:
            make_training_inputs(inputs)
        if {*arms} & {*COMMANDS}:
            make_command_inputs(inputs)
        for world in map(int, given.worlds.split(",")):
            for arm in arms:
                if world not in COMMANDS.get(arm, (world,)):
                    continue
                kill = kill_training if arm in ARMS else kill_command
                of = kill(arm, world, given.kills, inputs, Path(folder) / f"{arm}{world}")
                counts = (of.kills, of.in_saves, of.runs, of.equal, "" if of.logged_once is None else of.logged_once)
                print(f"| {arm} | {world} | {' | '.join(map(str, counts))} |", flush=True)


if __name__ == "__main__":
    main()
