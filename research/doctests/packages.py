"""Where the source of an installed package lies, which version it is and under which licence: nothing is imported."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, distributions
from pathlib import Path
from platform import python_version

from weighted_mtp.data.schema import DataError

_NO_SOURCE = "has no Python source: only functions written in Python can be read"
_PASSED_OVER = {"test", "tests", "_vendor", "vendor", "_vendored", "extern"}


@dataclass(frozen=True)
class Package:
    """The Python files of a package or module."""

    name: str
    """As one imports it; it may be a part of a package, as sympy.ntheory."""
    root: Path
    """The folder that imports start from."""
    files: tuple[Path, ...]
    """Its files, without tests and copies of other packages."""
    release: str
    """What it belongs to, and its version: `more_itertools 10.8.0`, `Python 3.12.4`."""
    licence: str | None
    """As its metadata say; None: they do not."""

    @property
    def top(self) -> str:
        """The name before the first dot."""
        return self.name.partition(".")[0]


def find_package(name: str, paths: Sequence[str] = ()) -> Package:
    """A package by its import name, without running any of its code.

    Args:
        name: of a package, a part of one or a module.
        paths: folders to look in before those that Python itself looks in.

    Raises:
        DataError: no such package, or no Python source in it.
    """
    if name in sys.builtin_module_names:
        raise DataError(f"package {name} {_NO_SOURCE}")
    spec = _spec(name, [*(str(Path(path).resolve()) for path in paths), *sys.path])
    files = tuple(_files(spec))
    if not files:
        raise DataError(f"package {name} {_NO_SOURCE}")
    root = _root(spec, files[0])
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        return Package(name, root, files, f"Python {python_version()}", "PSF-2.0")
    found = _distribution(top, root)
    if found is None:
        return Package(name, root, files, top, None)
    return Package(name, root, files, f"{top} {found.version}", _licence(found))


def _spec(name: str, search: Sequence[str]) -> ModuleSpec:
    """`importlib.util.find_spec` would import the packages that a dotted name goes through."""
    parts, folders, spec = name.split("."), search, None
    for count in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:count]), folders)
        if spec is None:
            hint = "install it, or give its folder with --paths"
            raise DataError(f"no package {'.'.join(parts[:count])} is installed here: {hint}")
        folders = list(spec.submodule_search_locations or ())
    assert spec is not None
    return spec


def _files(spec: ModuleSpec) -> Iterator[Path]:
    if spec.submodule_search_locations is None:
        if spec.origin is not None and spec.origin.endswith(".py"):
            yield Path(spec.origin)
        return
    for folder in map(Path, spec.submodule_search_locations):
        for file in sorted(folder.rglob("*.py")):
            if _PASSED_OVER.isdisjoint(file.relative_to(folder).parts):
                yield file


def _root(spec: ModuleSpec, file: Path) -> Path:
    """The folder above the package: as many steps up as its name has parts."""
    locations = spec.submodule_search_locations
    start = Path(next(iter(locations))) if locations else file
    return start.parents[spec.name.count(".")]


def _distribution(top: str, root: Path) -> Distribution | None:
    """What installed a package: often of the same name, else the one that lists its files."""
    where = [str(root)]
    for found in distributions(name=top, path=where):
        return found
    for found in distributions(path=where):
        if any(file.parts[0].removesuffix(".py") == top for file in found.files or ()):
            return found
    return None


def _licence(found: Distribution) -> str | None:
    """The SPDX expression, else the classifiers, else the first line of the old free text."""
    fields = found.metadata.json
    if "license_expression" in fields:
        return str(fields["license_expression"])
    classifiers = fields.get("classifier", [])
    named = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License :: ")]
    if named:
        return ", ".join(named)
    text = str(fields.get("license", "")).strip()
    return text.splitlines()[0] if text else None
