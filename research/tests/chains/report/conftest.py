"""Results of studies, whole and cut short."""

from typing import Any

import pytest

from research.tests.chains.report.made_study import full_study, small_study


@pytest.fixture(scope="session")
def study() -> dict[str, Any]:
    """The results of a whole study: seven settings, five draws."""
    return full_study()


@pytest.fixture(scope="session")
def quick_study() -> dict[str, Any]:
    """The results of the quick preset: two draws."""
    return small_study(draws=2, seed=2)


@pytest.fixture(scope="session")
def single_draw_study() -> dict[str, Any]:
    """The quick preset with a single draw: nothing has an interval."""
    return small_study(draws=1, seed=3)
