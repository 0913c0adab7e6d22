"""Experiments import the package, what they share, and those below them; none is imported by what it imports."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = {
    "command": 0, "corrected": 0, "drawing": 0, "weights": 0, "chains": 1, "doctests": 1, "real_code": 2,
    "on_policy": 2, "real_teacher": 3, "own_smollm2": 3, "which_scheme": 4,
}  # fmt: skip


def modules() -> list[Path]:
    paths = sorted(ROOT.rglob("*.py"))
    return [path for path in paths if path.parent != ROOT / "tests" and ROOT / "tests" not in path.parents]


def folder_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def test_every_folder_has_a_floor():
    assert {folder_of(path) for path in modules()} - {"__init__"} == set(FLOORS)


@pytest.mark.parametrize(
    "path", [path for path in modules() if path.parent != ROOT], ids=lambda p: str(p.relative_to(ROOT))
)
def test_a_module_imports_only_from_lower_floors_or_its_own_folder(path: Path):
    own = folder_of(path)
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    assert not [node.module for node in nodes if node.level], "imports are absolute"
    imported = {node.module.split(".")[1] for node in nodes if (node.module or "").startswith("research.")}
    assert imported <= {folder for folder, floor in FLOORS.items() if floor < FLOORS[own]} | {own}
