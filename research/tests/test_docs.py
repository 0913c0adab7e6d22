"""The pages of the experiments: commands parse, flags exist, links lead on, and the index names every page."""

from dataclasses import fields
from importlib import import_module
from importlib.util import find_spec

import pytest

from research.doctests.config import DoctestsConfig
from research.real_code.config import RealCodeConfig
from tests import test_docs as product

PAGES = sorted((product.ROOT / "research" / "docs").glob("*.md"))
SETTINGS = {f.name for config in (DoctestsConfig, RealCodeConfig) for f in fields(config)}
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@each_page
def test_commands_are_of_a_kind_that_is_checked_here(page):
    assert {words[0] for words in product.commands(page)} <= {"wmtp", "python", "pip", "export"}


@each_page
def test_commands_of_the_product_parse_and_their_flags_exist(page, monkeypatch, capsys):
    product.test_training_commands_parse(page, monkeypatch, capsys)
    product.test_flags_of_other_commands_exist(page, capsys)


@each_page
def test_flags_of_the_experiments_exist(page, capsys):
    for program, *words in product.commands(page):
        if program == "python":
            dash_m, name, *flags = words
            assert dash_m == "-m"
            is_folder = find_spec(name).submodule_search_locations is not None
            with pytest.raises(SystemExit) as stop:
                import_module(f"{name}.__main__" if is_folder else name).main(["--help"])
            assert stop.value.code == 0
            usage = capsys.readouterr().out
            assert [flag for flag in flags if flag.startswith("--") and flag not in usage] == []


@each_page
def test_what_the_prose_names_is_there(page):
    assert product.flags_in(page) <= SETTINGS | product.SETTINGS | product.OTHER_FLAGS
    product.test_settings_in_the_prose_exist(page)
    product.test_relative_links_and_pictures_exist(page)


def test_every_page_is_in_the_index():
    index = product.text_of(product.ROOT / "docs" / "README.md")
    assert [page.name for page in PAGES if f"(../research/docs/{page.name})" not in index] == []
