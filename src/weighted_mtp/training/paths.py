"""Paths as people write them: `~` and environment variables, expanded in one place for flags, files and Python."""

import os
import re
from pathlib import Path

from weighted_mtp.training.errors import ConfigError

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_STORE = "sqlite:///"
_NO_PATHS = ("hub:", "package:", "http://", "https://")


def expand_path(name: str, path: str) -> str:
    """The path with `~`, `~user`, `$NAME` and `${NAME}` replaced, as a shell does it in flags but nobody in a file.

    `hub:`, `package:` and web addresses stay as they are; of an sqlite address the file is expanded. A `$` that is part
    of the name of a file that is there is none of ours.

    Args:
        name: the setting, for the message.
        path: as given.

    Raises:
        ConfigError: no such user, or an environment variable that is not set.

    Examples:
        >>> import os
        >>> os.environ["RUNS"] = "/data/runs"
        >>> expand_path("output_dir", "$RUNS/x"), expand_path("model", "hub:A/B")
        ('/data/runs/x', 'hub:A/B')
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
    """The address of the MLflow database in a folder.

    Raises:
        ConfigError: the folder's name holds what an address reads as something else.
    """
    path = str(Path(folder).resolve() / "mlflow.db")
    if set(path) & set("%?"):
        raise ConfigError(
            f"{folder} has a % or ? in its path, which the address of MLflow's database cannot: name it otherwise, or "
            "give --tracking_uri"
        )
    return _STORE + path


def require_folder(name: str, path: str | Path) -> None:
    """Raises unless the folder, which need not be there, can be written into; nothing is made.

    Args:
        name: the setting, for the message.
        path: as expanded.

    Raises:
        ConfigError: it, or a folder above it, is a file or must not be written to.
    """
    place = Path(path)
    nearest = next(above for above in (place, *place.parents) if os.path.lexists(above))
    if not nearest.is_dir():
        raise ConfigError(f"{name} is {path}, but {nearest} is no folder: give another place")
    _require_permission(name, path, nearest, os.W_OK | os.X_OK)


def require_file(name: str, path: str | Path) -> None:
    """Raises unless the file, which need not be there, can be written; nothing is made.

    Raises:
        ConfigError: it is a folder, or it or a folder above it must not be written to.
    """
    place = Path(path)
    if place.is_dir():
        raise ConfigError(f"{name} is {path}, which is a folder: give a file")
    if place.exists():
        _require_permission(name, path, place, os.W_OK)
    else:
        require_folder(name, place.parent)


def _require_permission(name: str, path: str | Path, place: Path, mode: int) -> None:
    if not os.access(place, mode):
        where = "" if place == Path(path) else f"but {place} "
        raise ConfigError(f"{name} is {path}, {where or 'which '}may not be written to: give another place")
