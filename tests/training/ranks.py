"""One of several gloo processes that train one run after another. Not a test; `start_ranks` starts it.

usage: RANK=0 WORLD_SIZE=2 ... python ranks.py JOBS.json     a list of {"settings": flat, "resume": checkpoint or null}
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any


def start_ranks(jobs: list[dict[str, Any]], folder: Path, world: int = 2) -> None:
    """Runs the jobs on that many processes; each leaves model.safetensors and history.json in its output_dir."""
    path = folder / "jobs.json"
    path.write_text(json.dumps(jobs))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    group = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(path)],
            env=os.environ | group | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    errors = [process.communicate(timeout=240)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * world, "\n".join(errors)[-4000:]


def main(path: str) -> None:
    import torch

    from weighted_mtp.training.config import RunConfig
    from weighted_mtp.training.loading import load_inputs
    from weighted_mtp.training.quiet import quiet_libraries
    from weighted_mtp.training.run import fit, make_trainer

    torch.set_num_threads(1)
    quiet_libraries()
    for job in json.loads(Path(path).read_text()):
        config = RunConfig.from_flat(job["settings"])
        trainer = make_trainer(config, load_inputs(config), quiet=True)
        assert trainer.args.world_size == int(os.environ["WORLD_SIZE"])
        fit(trainer, config, Path(job["resume"]) if job["resume"] else None)
        if trainer.is_world_process_zero():
            history = Path(config.train.output_dir) / "history.json"
            history.write_text(json.dumps(trainer.state.log_history))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
