import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from weighted_mtp.models import MTPModel

SCRIPT = Path(__file__).with_name("train_on_ranks.py")
# How two processes train, and how one process must train to get the same weights.
COUNTERPART = {
    "ddp_untied": "alone_untied",
    "ddp_checkpointing": "alone_untied",
    "fsdp_tied": "alone_tied",
    "fsdp_untied": "alone_untied",
    "fsdp_checkpointing": "alone_untied",
}


def run(world: int, directory: Path, kinds: list[str]) -> None:
    directory.mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, SCRIPT, str(rank), str(world), directory, *kinds],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(world)
    ]
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * world, "\n".join(outputs)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Directories of models trained by one and by two real processes."""
    directory = tmp_path_factory.mktemp("ranks")
    run(1, directory / "one", sorted(set(COUNTERPART.values())))
    run(2, directory / "two", list(COUNTERPART))
    return directory


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return MTPModel.from_pretrained(directory).state_dict()


@pytest.mark.slow
@pytest.mark.parametrize("kind", COUNTERPART)
def test_two_processes_train_the_same_weights_as_one(runs, kind):
    """Through the wrapper's forward, with the head's weight read by `output_head` outside of it."""
    two, one = weights(runs / "two" / kind), weights(runs / "one" / COUNTERPART[kind])
    assert two.keys() == one.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-6, rtol=1e-5, msg=name)
