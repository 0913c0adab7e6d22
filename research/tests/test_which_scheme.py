"""The table of docs/which-scheme.md is made from the results that are kept."""

from research.drawing.markdown import between
from research.which_scheme import MARK, PAGE, block


def test_the_table_is_made_from_the_results():
    assert between(PAGE.read_text(), MARK, block()) == PAGE.read_text()
