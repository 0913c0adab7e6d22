"""Which files of an environment a sandbox shows, so that programs can import what they were allowed."""

import re
import site
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution
from pathlib import Path

from weighted_mtp.verifiers.base import VerifierError


def site_packages(environment: str | None) -> list[str]:
    """Where an environment, or this Python, keeps what is installed; `environment`: its folder, or that one itself."""
    if environment is None:
        return [folder for folder in (*site.getsitepackages(), site.getusersitepackages()) if folder in sys.path]
    folder, version = Path(environment), "python{}.{}".format(*sys.version_info)
    inner = folder / "lib" / version / "site-packages"
    if not inner.is_dir() and (not folder.is_dir() or any((folder / name).exists() for name in ("bin", "pyvenv.cfg"))):
        raise VerifierError(f"environment is {environment}, and there is no {inner}: name one of {version}")
    return [str((inner if inner.is_dir() else folder).resolve())]


def installed(names: Iterable[str], environment: str | None) -> tuple[Path, ...]:
    """The files and folders of the named distributions, and of what they need; VerifierError: no such environment, or
    something is not installed there, or only by a link to its sources."""
    folders, found = site_packages(environment), dict[str, Distribution]()
    waiting = [(name.strip(), "allow", True) for name in names]
    while waiting:
        name, needed_by, is_needed = waiting.pop(0)
        if name.lower() in found:
            continue
        distribution = next(iter(Distribution.discover(name=name, path=folders)), None) if name else None
        if distribution is not None:
            found[name.lower()] = distribution
            needs = [text.partition(";") for text in distribution.requires or () if "extra" not in text]
            waiting += [(re.split(r"[^\w.-]", text, maxsplit=1)[0], name, not marker) for text, _, marker in needs]
        elif is_needed:
            where = environment or ", ".join(folders)
            raise VerifierError(f"{needed_by} names {name!r}, which is not installed in {where}: pip install it there")
    shown = [path for distribution in found.values() for path in _files(distribution)]
    return tuple(dict.fromkeys(shown))


def _files(distribution: Distribution) -> list[Path]:
    tops = {file.parts[0] for file in distribution.files or () if not file.name.endswith(".pth")}
    tops -= {"..", "__pycache__"}
    if all(top.startswith("__editable__") or top.endswith("-info") for top in tops):
        raise VerifierError(f"{distribution.name} is installed as a link to its sources: install it without -e")
    return [Path(str(distribution.locate_file(top))) for top in sorted(tops)]
