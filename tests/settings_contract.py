"""What every dataclass of settings keeps to, a flag and a line of a file being the same to it."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from weighted_mtp.training.errors import ConfigError


def made(group: type, given: dict[str, Any]) -> Any:
    """A group of settings from those of the given ones that are its own."""
    names = {f.name for f in dataclasses.fields(group)}
    return group(**{name: value for name, value in given.items() if name in names})


def assert_never_empty(make: Callable[..., Any], group: type, name: str) -> None:
    """A setting is refused empty, or empty means its default."""
    if type(None) in get_args(get_type_hints(group)[name]):
        default = next(f.default for f in dataclasses.fields(group) if f.name == name)
        assert default is None, "null in a file means the default"
    else:
        with pytest.raises(ConfigError, match=f"{name} is empty: give a value"):
            make(group, **{name: None})


def assert_expanded(
    make: Callable[..., Any], group: type, name: str, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """A path knows ~ and the environment."""
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("RUNS", "/data/runs")
    many = "list" in str(get_type_hints(group)[name])
    for given, wanted in (("~/x", f"{home}/x"), ("$RUNS/x", "/data/runs/x"), ("${RUNS}/x", "/data/runs/x")):
        value = getattr(make(group, **{name: [given] if many else given}), name)
        assert value == ([wanted] if many else wanted)


def names_of_places(groups: Iterable[type]) -> set[str]:
    """Settings whose line of doc speaks of a file or a folder."""
    words = ("irectory", "ile of ", ".jsonl", "older", "hugging face")
    found = set()
    for group in groups:
        source = Path(str(__import__(group.__module__, fromlist=["x"]).__file__)).read_text()
        for f in dataclasses.fields(group):
            after = source.partition(f"    {f.name}: ")[2].partition('"""')[2].partition('"""')[0]
            if any(word in after for word in words):
                found.add(f.name)
    return found
