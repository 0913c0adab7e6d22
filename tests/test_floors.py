"""The layout is a table of contents: a folder imports only from lower floors and from itself."""

import ast
import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import weighted_mtp

ROOT = Path(weighted_mtp.__file__).parent
FLOORS = {
    "checks": 0,
    "choices": 0,
    "files": 0,
    "terminal": 0,
    "value_weighting": 1,
    "losses": 1,
    "models": 2,
    "data": 2,
    "engine": 3,
    "reports": 3,
    "verifiers": 4,
    "training": 5,
    "evaluation": 6,
    "integrations": 6,
    "labelling": 7,
    "inspection": 7,
    "sampling": 8,
    "demo": 8,
    "improve": 9,
    "cli": 10,
    "python": 11,
}


def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def folder_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_folders(path: Path) -> set[str]:
    found: set[str] = set()
    package = ["weighted_mtp", *path.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            names = [".".join([*base, *([node.module] if node.module else [])])]
        found |= {name.split(".")[1] for name in names if name.startswith("weighted_mtp.")}
    return found


def imported_modules(path: Path) -> set[str]:
    """Full names of the modules of this package that a module imports anywhere, but for a type checker."""
    package = ["weighted_mtp", *path.relative_to(ROOT).parts[:-1]]
    found: set[str] = set()

    def look(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            home = ".".join([*base, *([node.module] if node.module else [])])
            found.update({home, *(f"{home}.{alias.name}" for alias in node.names)})
        for child in ast.iter_child_nodes(node):
            look(child)

    look(ast.parse(path.read_text()))
    return found


def imported_names(path: Path) -> set[str]:
    """The first part of everything that a module imports by its whole name."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return {name.split(".")[0] for name in names}


def test_every_folder_has_a_floor():
    assert {folder_of(path) for path in modules()} == set(FLOORS)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_only_from_lower_floors_or_its_own_folder(path: Path):
    own = folder_of(path)
    allowed = {folder for folder, floor in FLOORS.items() if floor < FLOORS[own]} | {own}
    assert imported_folders(path) <= allowed


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_is_seen_at_once(path: Path):
    assert len(path.read_text().splitlines()) <= 300


def test_no_modules_import_each_other_in_a_circle():
    """Functions' own imports count, those for a type checker alone do not."""
    names = {".".join(["weighted_mtp", *path.relative_to(ROOT).with_suffix("").parts]): path for path in modules()}
    graph = {name: imported_modules(path) & {*names} for name, path in names.items()}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_package_imports_nothing_that_stands_outside_it(path: Path):
    assert not imported_names(path) & {"research", "tests", "benchmarks", "examples"}


def test_the_tests_of_the_package_import_no_experiment():
    paths = sorted((ROOT.parents[1] / "tests").rglob("*.py"))
    assert [path.name for path in paths if "research" in imported_names(path)] == []


def test_the_wheel_holds_the_package_alone():
    settings = tomllib.loads((ROOT.parents[1] / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert settings["packages"]["find"] == {"where": ["src"]}
    assert {path.parent.name for path in (ROOT.parents[1] / "src").glob("*/*.py")} == {"weighted_mtp"}


@pytest.mark.parametrize("folder", ["files", "value_weighting", "losses"])
def test_floor_0_needs_neither_transformers_nor_datasets(folder: str):
    code = f"import sys, weighted_mtp.{folder}; print([m for m in ('transformers', 'datasets') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
