"""The page on adding a scheme runs as it stands, and docstrings hold what they should."""

import re
import runpy
import sys
from pathlib import Path

import pytest
import torch

from weighted_mtp import value_weighting
from weighted_mtp.value_weighting import make_scheme

PAGE = Path(__file__).parents[2] / "docs" / "add-a-scheme.md"


def test_page_on_adding_a_scheme_prints_what_it_says(tmp_path, capsys):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    (tmp_path / "page.py").write_text("\n".join(blocks))
    runpy.run_path(str(tmp_path / "page.py"))
    printed = re.findall(r"print\(.*\)  # (.*)", "".join(blocks))
    assert printed == capsys.readouterr().out.splitlines()


def test_scheme_of_the_page_loads_by_the_import_path_of_the_page(tmp_path, monkeypatch):
    text = PAGE.read_text()
    path = re.search(r'scheme: "([\w.]+:\w+)"', text).group(1)
    module = path.split(":")[0]
    file = tmp_path / (module.replace(".", "/") + ".py")
    file.parent.mkdir(parents=True)
    file.write_text(re.search(r"```python\n(.*?)```", text, flags=re.DOTALL).group(1))
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert make_scheme(path, scale=torch.pi).requires == ("nll",)
    finally:
        sys.modules.pop(module, None)
        sys.modules.pop(module.split(".")[0], None)


# hold or pass on what others compute
PLUMBING = {
    "SCHEMES",
    "Column",
    "Control",
    "Moments",
    "RandomControl",
    "Signals",
    "WeightingScheme",
    "make_scheme",
    "weigh",
}


@pytest.mark.parametrize("name", value_weighting.__all__)
def test_public_name_shows_an_example_and_names_its_source(name):
    documentation = getattr(value_weighting, name).__doc__ or ""
    assert name == "SCHEMES" or "Examples:\n" in documentation
    assert name in PLUMBING or "Source: " in documentation
