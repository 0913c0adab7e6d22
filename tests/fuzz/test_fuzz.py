"""Some of the dirty inputs; `python -m tests.fuzz 50000` tries as many as are asked for."""

import pytest

from tests.fuzz.inputs import KINDS, run_cases

COUNT = 400
"""Of each kind; the command tries more."""


@pytest.mark.parametrize("kind", KINDS)
def test_every_input_is_taken_or_ends_in_one_clear_error(kind, tmp_path):
    found = run_cases(kind, COUNT, tmp_path)
    assert found["taken"] >= COUNT / 50, "what is always refused tries the first check alone"
    assert sum(found.values()) == COUNT
