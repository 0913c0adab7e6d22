"""Folds never part what must stay together."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighted_mtp.data.folds import split_tasks


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
