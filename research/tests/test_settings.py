"""Settings of the experiments keep to what those of the product do."""

import dataclasses
from typing import Any

import pytest

from research.doctests.config import DoctestsConfig
from research.real_code.config import RealCodeConfig
from tests.settings_contract import assert_expanded, assert_never_empty, made, names_of_places

GROUPS: dict[type, dict[str, Any]] = {RealCodeConfig: {}, DoctestsConfig: {"out": "o", "packages": ["heapq"]}}
PATHS = {"data", "out", "configs", "paths"}
SETTINGS = [(group, f.name) for group in GROUPS for f in dataclasses.fields(group)]


def make(group: type, **settings: Any) -> Any:
    return made(group, GROUPS[group] | settings)


@pytest.mark.parametrize(("group", "name"), SETTINGS, ids=lambda v: getattr(v, "__name__", v))
def test_a_setting_that_needs_a_value_is_never_empty(group, name):
    assert_never_empty(make, group, name)


@pytest.mark.parametrize(
    ("group", "name"), [s for s in SETTINGS if s[1] in PATHS], ids=lambda v: getattr(v, "__name__", v)
)
def test_home_and_environment_are_expanded_in_every_path(group, name, monkeypatch, tmp_path):
    assert_expanded(make, group, name, monkeypatch, tmp_path)


def test_every_setting_that_names_a_place_is_among_the_paths():
    assert names_of_places(GROUPS) - {"solve", "packages"} <= PATHS
