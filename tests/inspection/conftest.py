"""What the tests of the page of runs share with those of the kit it is made of."""

from tests.reports.conftest import artifacts, browser, run_page

__all__ = ["artifacts", "browser", "run_page"]
