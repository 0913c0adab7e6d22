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
        raise ConfigError(
            f"{name} is {path}, but the environment has no {missing[0]}: set it, or write the path out"
        )
    expanded = os.path.expanduser(_VARIABLE.sub(lambda found: os.environ[found[1] or found[2]], path))
    if expanded.startswith("~"):
        raise ConfigError(
            f"{name} is {path}, but there is no user {Path(expanded).parts[0][1:]}: write the path out"
        )
    return expanded
