"""The one error that a mistake in a setting is, and the checks of values, names and paths that raise it."""

import json
import math
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_STORE = "sqlite:///"
_STORES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql", "databricks", "databricks-uc", "uc", "file", "")
_ALONE = ("databricks", "databricks-uc", "uc")
"""Addresses as they are; of the profile or server that is set up."""
_NO_PATHS = ("hub:", "package:", "http://", "https://")


class ConfigError(ValueError):
    """A user's mistake in a configuration: one line that says what came, what is needed and how to fix it."""


def require(condition: bool, message: str) -> None:
    """Raises ConfigError unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def settle(config: Any, *paths: str) -> None:
    """What every group of settings does first: refuses empty values and unknown names, and expands its `paths`."""
    kinds = get_type_hints(type(config))
    for f in fields(config):
        value = getattr(config, f.name)
        _require_small(f.name, value)
        if value is None and type(None) not in get_args(kinds[f.name]):
            raise ConfigError(f"{f.name} is empty: give a value, or leave it out")
        if get_origin(kinds[f.name]) is Literal:
            choices = get_args(kinds[f.name])
            require(value in choices, f"{f.name} is {value!r}: give one of {', '.join(choices)}")
        if f.name in paths and value is not None:
            optional = f.default is not MISSING or f.default_factory is not MISSING
            expanded = _expanded(f.name, value, or_not=", or leave it out" if optional else "")
            object.__setattr__(config, f.name, expanded)  # the classes are frozen for everybody else


def _require_small(name: str, value: Any) -> None:
    """Refuses whole numbers beyond 64 bits, in lists and mappings too: no count, seed or rate is one."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        digits = math.ceil((value.bit_length() - 1) * math.log10(2))
        raise ConfigError(f"{name} is a number of about {digits} digits: give one below 2**63, about 9e18")
    for key, entry in value.items() if isinstance(value, Mapping) else ():
        _require_small(f"{name}.{key}", entry)
    for entry in value if isinstance(value, list | tuple) else ():
        _require_small(name, entry)


def _expanded(name: str, value: Any, or_not: str) -> Any:
    if isinstance(value, list):
        return [_expanded(name, entry, or_not) for entry in value]
    if isinstance(value, str):
        require(value != "", f"{name} is empty: give a path{or_not}")
        return expand_path(name, value)
    return value


def require_positive(config: Any, *names: str) -> None:
    """Raises ConfigError unless these settings are finite and above 0."""
    for name in names:
        value = getattr(config, name)
        require(math.isfinite(value) and value > 0, f"{name} is {value}: give a finite number above 0")


def require_at_least_zero(config: Any, *names: str) -> None:
    """Raises ConfigError unless these settings are finite and not negative."""
    for name in names:
        value = getattr(config, name)
        require(math.isfinite(value) and value >= 0, f"{name} is {value}: give a finite number, 0 or more")


def require_temperature(value: float) -> None:
    """Raises ConfigError unless logits can be divided by it, or it is 0, which is greedy."""
    fits = value == 0 or 1e-6 <= value < math.inf
    require(fits, f"temperature is {value}: give 0 (greedy), or a finite number from 1e-6 on")


def require_guidance(value: float, label: str | None, drafts: bool) -> None:
    """Raises ConfigError unless a generative critic can be led so far from its other label."""
    require(0 <= value <= 1e6, f"guidance is {value}: give 0 (none) or a number above it, up to 1e6")
    if value:
        require(label is not None, "guidance leads away from a generative critic's other label: give --label right")
        require(not drafts, "guidance reads every prompt under both labels, which drafts do not: leave one of them out")


def expand_path(name: str, path: str) -> str:
    """The path with `~`, `~user`, `$NAME` and `${NAME}` replaced, as a shell does it in flags but nobody in a file.

    `hub:`, `package:` and web addresses stay as they are; of an sqlite address the file is expanded. A `$` that is part
    of the name of a file that is there is none of ours.
    """
    if path.startswith(_STORE):
        return _STORE + expand_path(name, path.removeprefix(_STORE))
    if path.startswith(_NO_PATHS):
        return path
    missing = [a or b for a, b in _VARIABLE.findall(path) if (a or b) not in os.environ]
    if missing and os.path.lexists(path):
        return path
    if missing:
        raise ConfigError(f"{name} is {path}, but the environment has no {missing[0]}: set it, or write the path out")
    expanded = os.path.expanduser(_VARIABLE.sub(lambda found: os.environ[found[1] or found[2]], path))
    if expanded.startswith("~"):
        raise ConfigError(f"{name} is {path}, but there is no user {Path(expanded).parts[0][1:]}: write the path out")
    return expanded


def mlflow_store(folder: str | Path) -> str:
    """The address of the MLflow database in a folder."""
    path = str(Path(folder).resolve() / "mlflow.db")
    if set(path) & set("%?"):
        raise ConfigError(
            f"{folder} has a % or ? in its path, which the address of MLflow's database cannot: name it otherwise, or "
            "give --tracking_uri"
        )
    return _STORE + path


def without_password(text: str) -> str:
    """Text in which addresses have no password.

    >>> without_password("http://me:secret@host:5000/a does not answer")
    'http://me:***@host:5000/a does not answer'
    """
    return re.sub(r"(//[^\s/@:]*:)[^\s/@]+@", r"\1***@", text)


def require_store(uri: str) -> None:
    """Raises ConfigError for what is no address, of a kind that neither MLflow nor a plugin of it knows, or of a file
    that cannot be."""
    try:
        parts = urlsplit(uri)
        wrong = parts.scheme in ("http", "https") and not (parts.hostname and parts.port != 0)
    except ValueError:  # of brackets and of ports
        wrong = True
    require(not wrong, f"tracking_uri is {uri}, which is no address: give http://HOST:PORT, sqlite:///FILE.db, or none")
    kind = parts.scheme.partition("+")[0] or uri * (uri in _ALONE)  # postgresql+psycopg2
    is_folder = kind in ("", "file") and uri.strip().lower() != "none"
    if is_folder and not os.environ.get("MLFLOW_ALLOW_FILE_STORE"):
        raise ConfigError(
            f"tracking_uri is {uri}, a folder, where MLflow keeps no runs: give sqlite:///FILE.db, or none"
        )
    if kind == "sqlite":
        file = uri.partition(":///")[2].partition("?")[0]
        kept = file not in ("", ":memory:") and not set(file) & set("%\0")
        require(kept, f"tracking_uri is {uri}, which names no file, or one with %: give sqlite:///FILE.db, or none")
        require_file("tracking_uri", file)
    if kind not in _STORES and not entry_points(group="mlflow.tracking_store", name=kind):
        known = ", ".join(one for one in _STORES if one)
        raise ConfigError(f"tracking_uri is {uri}, and MLflow has no store {kind}: give one of {known}, or none")


def in_memory(name: Any) -> bool:
    """Whether a setting names what a Python session held, and nothing that can be read again.

    >>> in_memory("<120 rows in memory>"), in_memory("rows.jsonl"), in_memory(None)
    (True, False, False)
    """
    return isinstance(name, str) and name.startswith("<") and name.endswith(" in memory>")


def require_folder(name: str, path: str | Path) -> None:
    """Raises unless the folder, which need not be there, can be written into; nothing is made."""
    place = Path(path)
    nearest = next(above for above in (place, *place.parents) if os.path.lexists(above))
    if not nearest.is_dir():
        raise ConfigError(f"{name} is {path}, but {nearest} is no folder: give another place")
    _require_permission(name, path, nearest, os.W_OK | os.X_OK)


def require_file(name: str, path: str | Path) -> None:
    """Raises unless the file, which need not be there, can be written; nothing is made."""
    place = Path(path)
    if place.is_dir():
        raise ConfigError(f"{name} is {path}, which is a folder: give a file")
    if place.exists():
        require(place.is_file(), f"{name} is {path}, which is no file that can be gone on with: give one")
        _require_permission(name, path, place, os.W_OK)
    else:
        require_folder(name, place.parent)


def _require_permission(name: str, path: str | Path, place: Path, mode: int) -> None:
    if not os.access(place, mode):
        where = "" if place == Path(path) else f"but {place} "
        raise ConfigError(f"{name} is {path}, {where or 'which '}may not be written to: give another place")


def require_same_settings(file: Path, settings: Mapping[str, Any], what: str, by_content: Collection[str]) -> None:
    """Raises ConfigError where a JSON file of settings says that what lies beside it (`what`) was made with others;
    those that are digests, which say nothing to a reader, are `by_content`."""
    if not file.exists():
        return
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    advice = "nothing in it was changed: use another --out, or move this one away"
    if not isinstance(found, dict):
        raise ConfigError(f"{file} holds no settings, so that what made the {what} is not known; {advice}")
    different = [
        f"other {name}" if name in by_content else f"{name} {found.get(name)!r} and not {settings.get(name)!r}"
        for name in found | dict(settings)
        if found.get(name) != settings.get(name)
    ]
    require(not different, f"{file.parent} holds {what} with {', '.join(different)}; {advice}")
