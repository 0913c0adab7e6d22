from pathlib import Path

import pytest
import torch

from tests.conftest import weights_in
from tests.forked import start
from tests.models.train_on_ranks import train, train_all
from weighted_mtp.models import MTPModel

# How two processes train, and how one process must train to get the same weights.
COUNTERPART = {
    "ddp_untied": "alone_untied",
    "ddp_checkpointing": "alone_untied",
    "fsdp_tied": "alone_tied",
    "fsdp_untied": "alone_untied",
    "fsdp_checkpointing": "alone_untied",
    "fsdp_sequential": "alone_sequential",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Directories of models trained by this process and by two others."""
    directory = tmp_path_factory.mktemp("ranks")
    for kind in set(COUNTERPART.values()):
        train(0, 1, kind, directory / "one" / kind)
    (directory / "two").mkdir()
    said = [directory / f"said{rank}" for rank in range(2)]
    ranks = [
        start(train_all, rank, 2, directory / "two", list(COUNTERPART), said=file) for rank, file in enumerate(said)
    ]
    for process in ranks:
        process.join(timeout=240)
    assert [process.exitcode for process in ranks] == [0, 0], "\n".join(file.read_text() for file in said)
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


@pytest.mark.slow
def test_tied_weights_that_were_gathered_from_shards_are_written_once(runs):
    one, two = (weights_in(runs / kind) for kind in ("one/alone_tied", "two/fsdp_tied"))
    assert two.keys() == one.keys()
