"""The notebook is one, and its cells run from top to bottom."""

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"


@pytest.fixture(scope="module")
def notebook() -> dict[str, Any]:
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))


def test_it_has_the_form_of_a_notebook(notebook):
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    wanted = {"code": {"execution_count", "outputs"}, "markdown": set()}
    for cell in notebook["cells"]:
        assert cell.keys() == {"cell_type", "id", "metadata", "source"} | wanted[cell["cell_type"]]
        assert all(isinstance(line, str) for line in cell["source"])
        assert cell.get("outputs", []) == []


@pytest.mark.slow
def test_its_cells_run_in_order(notebook, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), namespace)
    printed = capsys.readouterr().out
    assert "value before it" in printed
    assert "weighted {'mean'" in printed
    assert (tmp_path / "own" / "run.yaml").is_file()
