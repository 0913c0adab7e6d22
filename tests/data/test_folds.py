"""Folds never part what must stay together, and near-duplicates are found whatever stands around them."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighted_mtp.data.folds import near_duplicates, shingles, split_tasks

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


@given(st.integers(2, 5), st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=20), st.integers(0, 3))
def test_no_fold_parts_a_pair_and_folds_are_as_even_as_groups_allow(
    folds: int, pairs: list[tuple[int, int]], seed: int
):
    tasks = [str(i) for i in range(30)]
    together = [(str(a), str(b)) for a, b in pairs]
    split = split_tasks(tasks, together, folds, seed)
    assert list(split) == tasks
    assert all(split[a] == split[b] for a, b in together)
    assert split == split_tasks(tasks, together, folds, seed)
    sizes = Counter(split.values())
    if not together:
        assert max(sizes.values()) - min(sizes.values()) <= 1


def test_another_seed_splits_otherwise():
    tasks = [str(i) for i in range(30)]
    assert split_tasks(tasks, [], 5, seed=0) != split_tasks(tasks, [], 5, seed=1)


@pytest.mark.parametrize(
    ("tasks", "folds", "message"), [("ab", 1, "at least 2"), ("abc", 3, r"3 tasks make 2 groups .* too few for 3")]
)
def test_what_cannot_be_split_is_told(tasks: str, folds: int, message: str):
    with pytest.raises(ValueError, match=message):
        split_tasks(list(tasks), [("a", "b")], folds)


@pytest.mark.parametrize("threshold", [0.0, 1.5, float("nan")])
def test_a_threshold_is_a_share(threshold: float):
    with pytest.raises(ValueError, match=r"number in \(0, 1\]"):
        near_duplicates({"a": "x"}, threshold)
