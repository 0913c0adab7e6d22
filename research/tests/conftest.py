"""What the tests of the experiments share with those of the product."""

from tests.conftest import made_once, pytest_terminal_summary, reasoning_gym, sandbox_works, smollm2, smollm2_dir, store
from tests.reports.conftest import artifacts, browser
from tests.test_two_writers import here, owner

__all__ = [
    "artifacts",
    "browser",
    "here",
    "made_once",
    "owner",
    "pytest_terminal_summary",
    "reasoning_gym",
    "sandbox_works",
    "smollm2",
    "smollm2_dir",
    "store",
]
