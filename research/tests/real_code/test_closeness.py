"""Near-duplicates are found whatever stands around them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research.real_code.closeness import near_duplicates, shingles

LOOP = "total = 0\nfor item in items:\n    if item > limit:\n        total += item\nreturn total\n"


def test_a_text_within_a_longer_one_is_its_near_duplicate():
    texts = {"short": LOOP, "long": f"limit = 3\n{LOOP.replace('return', 'print(total); return')}", "other": "x"}
    assert list(near_duplicates(texts)) == [("short", "long")]


def test_white_space_does_not_matter_and_names_do():
    assert near_duplicates({"a": LOOP, "b": LOOP.replace("\n", "\n\n").replace(" ", "  ")}) == {("a", "b"): 1.0}
    assert near_duplicates({"a": LOOP, "b": LOOP.replace("item", "x").replace("total", "y")}) == {}


def test_a_short_text_is_one_shingle_and_equals_itself_only():
    assert len(shingles("return x")) == 1
    assert near_duplicates({"a": "return x", "b": "return x", "c": "return y"}) == {("a", "b"): 1.0}


@given(st.lists(st.text("ab \n", max_size=30), min_size=2, max_size=6), st.floats(0.05, 1.0))
def test_near_duplicates_are_those_of_the_definition(texts: list[str], threshold: float):
    named = {str(i): text for i, text in enumerate(texts)}
    sets = {name: shingles(text) for name, text in named.items()}
    expected = {}
    for a, b in itertools.combinations(named, 2):
        containment = len(sets[a] & sets[b]) / min(len(sets[a]), len(sets[b]))
        if containment >= threshold:
            expected[a, b] = containment
    assert near_duplicates(named, threshold) == expected


@pytest.mark.parametrize("threshold", [0.0, 1.5, float("nan")])
def test_a_threshold_is_a_share(threshold: float):
    with pytest.raises(ValueError, match=r"number in \(0, 1\]"):
        near_duplicates({"a": "x"}, threshold)
