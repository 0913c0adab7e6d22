"""Overlap of many texts is containment by its definition, once what many of them hold is taken out."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.containment import shingles
from weighted_mtp.data.folds import Overlap, popular_limit


def found(texts: list[str], least: int = 1) -> dict[tuple[int, int], float]:
    return {(a, b): share for a, shares in Overlap(texts, least).pairs() for b, share in shares.items()}


@settings(max_examples=50)
@given(st.lists(st.text("ab \n", max_size=30), min_size=2, max_size=6))
def test_of_few_texts_it_is_containment(texts: list[str]):
    sets = [shingles(text) - {()} for text in texts]
    expected = {
        (a, b): len(sets[a] & sets[b]) / min(len(sets[a]), len(sets[b]))
        for a, b in itertools.combinations(range(len(texts)), 2)
        if sets[a] & sets[b]
    }
    assert found(texts) == pytest.approx(expected)


def test_an_empty_text_overlaps_none():
    assert found(["", "", "a"]) == {}


def test_a_text_shorter_than_asked_for_says_nothing():
    assert found(["a b c", "a b c"], least=4) == {}
    assert found(["a b c", "a b c"], least=3) == {(0, 1): 1.0}


@given(st.integers(0, 10**6))
def test_what_may_be_popular_grows_with_the_texts_and_is_never_all_of_many(n: int):
    limit = popular_limit(n)
    assert limit >= min(20, n * 9 // 10)
    assert limit <= popular_limit(n + 1) or n == 9
    assert n < 10 or limit < n


def work(n: int) -> tuple[int, int]:
    """Entries that are kept of n texts in groups of ten with one template in all, and pairs that are looked at."""
    template = "Please reason step by step and put the final answer in a box at the end of what you write ."
    own = [" ".join(f"w{i}x{place}" for place in range(10)) for i in range(n)]
    texts = [f"{own[i]} {' '.join(f'g{i // 10}x{place}' for place in range(10))} {template}" for i in range(n)]
    overlap = Overlap(texts)
    assert {a // 10 == b // 10 for a, shares in overlap.pairs() for b in shares} == {True}
    holders = [len(texts) for texts in overlap._holders.values()]
    return sum(holders), sum(count**2 for count in holders)


def test_work_and_memory_grow_with_the_number_of_texts_whatever_they_share():
    """A template that counted would make four times the pairs of twice the texts."""
    kept, looked_at = work(300)
    assert work(600) == (2 * kept, 2 * looked_at)
