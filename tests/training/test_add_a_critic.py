"""docs/add-a-critic.md as it says: in a copy of the package its files are saved, its rows added, its lines run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "add-a-critic.md").read_text(encoding="utf-8")
RUN_ALL = """
import shlex, sys
from weighted_mtp.cli.main import main
for line in sys.stdin:
    print(line, end="")
    if main(shlex.split(line.removeprefix("$ wmtp "))):
        sys.exit(1)
"""  # in one process: each would take seconds to import what it needs


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)


def places(before: str) -> list[str]:
    """Paths that the page names in a sentence that begins so."""
    return re.findall(rf"{before}\s+`(src/\S+\.py)`", PAGE)


def add_row(table: Path, row: str) -> None:
    """At the end of the mapping that is the file's table."""
    lines = "".join(f"{line[1:]}\n" for line in row.splitlines())
    text, count = re.subn(
        r"(?m)^((?:CRITICS|STAGE_TABLE): .* = \{\n(?:.*\n)*?)\}\n", rf"\1{lines}}}\n", table.read_text()
    )
    assert count == 1
    table.write_text(text)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of package and tests, with what the page adds."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("src", "tests"):
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", folder)
    *files, start = sorted(blocks("python"), key=lambda block: not block.startswith('"""'))
    for path, source in zip(places("as"), files, strict=True):
        (folder / path).write_text(source)
    for path, row in zip(places("In"), blocks("diff"), strict=True):
        add_row(folder / path, row)
    run(folder, ["-c", start])
    return folder


def run(clone: Path, words: list[str], lines: str = "") -> str:
    """What Python prints, in the copy."""
    environment = os.environ | {"PYTHONPATH": f"{clone / 'src'}{os.pathsep}{clone}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *words]
    done = subprocess.run(command, input=lines, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_what_the_page_adds_trains_and_is_as_good_as_it_says(clone):
    lines = [line for block in blocks("console") for line in block.splitlines(keepends=True)]
    printed = run(clone, ["-c", RUN_ALL], "".join(line for line in lines if line.startswith("$ wmtp ")))
    found = re.search(r"AUC of the first wrong token +(\S+) +\S+ +(\S+)", printed)
    assert found is not None
    assert float(found[1]) > 0.7
    assert float(found[2]) < 0.5


@pytest.mark.slow
def test_what_the_page_adds_passes_the_tests_of_its_table(clone):
    (line,) = [line for block in blocks("console") for line in block.splitlines() if line.startswith("$ python ")]
    assert "passed" in run(clone, shlex.split(line)[2:])
