"""What the tests of the demo's page share with those of the kit it is made of."""

from tests.reports.conftest import artifacts, browser, code_example, report

__all__ = ["artifacts", "browser", "code_example", "report"]
