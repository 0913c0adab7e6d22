"""What a user reads in the terminal: our warnings are lines, those of others say where they come from."""

import sys

import weighted_mtp
from tests.forked import start
from weighted_mtp.cli.quiet import quiet_libraries


def _warn() -> None:
    quiet_libraries()
    import warnings

    warnings.warn_explicit("a head was dropped", UserWarning, str(weighted_mtp.__file__), 3)
    warnings.warn_explicit("old", UserWarning, "/theirs.py", 3)
    sys.stderr.flush()


def test_our_warnings_are_lines_and_those_of_others_name_their_place(tmp_path):
    process = start(_warn, said=tmp_path / "stderr")
    process.join(timeout=120)
    assert process.exitcode == 0
    assert (tmp_path / "stderr").read_text().splitlines() == [
        "wmtp: a head was dropped",
        "/theirs.py:3: UserWarning: old",
    ]
