"""What is killed at random moments ends as what nobody killed: weights and metrics of trainings, files of commands."""

from pathlib import Path

import pytest

from benchmarks.kill_commands import kill_command, make_command_inputs
from benchmarks.kill_training import kill_training, make_training_inputs


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    make_training_inputs(folder)
    make_command_inputs(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("arm", "world", "kills"), [("verifiable", 1, 4), ("packed", 2, 2)])
def test_a_killed_run_ends_as_the_one_that_nobody_killed(inputs, tmp_path, arm, world, kills):
    of = kill_training(arm, world, kills, inputs, tmp_path)
    assert (of.kills, of.equal, of.logged_once) == (kills, of.runs, of.runs)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["sample", "data verify", "score --cross_fit"])
def test_a_killed_command_leaves_the_files_of_the_one_that_nobody_killed(inputs, tmp_path, command):
    of = kill_command(command, 1, 2, inputs, tmp_path / "killed")
    assert (of.kills, of.equal) == (2, of.runs)
