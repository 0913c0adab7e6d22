"""A run that is killed at random moments ends as the one that nobody killed: weights, and metrics in MLflow."""

from pathlib import Path

import pytest

from benchmarks.kills import make_inputs, measure


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("arm", "world", "kills"), [("verifiable", 1, 4), ("packed", 2, 2)])
def test_a_killed_run_ends_as_the_one_that_nobody_killed(inputs, tmp_path, arm, world, kills):
    of = measure(arm, world, kills, inputs, tmp_path)
    assert (of.kills, of.equal, of.logged_once) == (kills, of.runs, of.runs)
