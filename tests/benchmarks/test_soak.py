"""A real MLflow server, killed and begun again while a run logs to it."""

import pytest

from benchmarks.soak import soak


@pytest.mark.slow
def test_a_server_that_is_killed_and_begun_again_loses_no_metric(tmp_path):
    health, counts = soak(tmp_path, steps=100, kills=1)
    assert len(health.steps) == 10
    assert counts["values"] > 1_000
    assert (counts["missing"], counts["twice"], counts["finished"]) == (0, 0, 1)
