"""What a user reads in the terminal: our warnings are lines, those of others name their place, none steers it."""

import logging
import sys

import weighted_mtp
from tests.forked import start
from weighted_mtp.reports.quiet import quiet_libraries


def _warn() -> None:
    quiet_libraries()
    import warnings

    warnings.warn_explicit("a head was dropped", UserWarning, str(weighted_mtp.__file__), 3)
    warnings.warn_explicit("old", UserWarning, "/theirs.py", 3)
    warnings.warn_explicit("\x1b[2Jred", UserWarning, str(weighted_mtp.__file__), 4)
    logging.getLogger("weighted_mtp").warning("a file named \x9b31m%s", "\x1b]0;title\x07")
    try:
        raise OSError("database or disk is full")
    except OSError:
        logging.getLogger("sqlalchemy.pool.impl.QueuePool").exception("Exception during reset or similar")
        logging.getLogger("mlflow.store.db.utils").exception("SQLAlchemy database error")
    sys.stderr.flush()


def test_our_warnings_are_lines_and_those_of_others_name_their_place(tmp_path):
    process = start(_warn, said=tmp_path / "stderr")
    process.join(timeout=120)
    assert process.exitcode == 0
    assert (tmp_path / "stderr").read_text().splitlines() == [
        "wmtp: a head was dropped",
        "/theirs.py:3: UserWarning: old",
        r"wmtp: \x1b[2Jred",
        r"wmtp: a file named \x9b31m\x1b]0;title\x07",
    ]
