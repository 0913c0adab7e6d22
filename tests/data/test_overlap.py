"""Overlap of many texts is containment by its definition, once what many of them hold is taken out."""

import itertools
import resource
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighted_mtp.data.folds import shingles
from weighted_mtp.data.overlap import Overlap, popular_limit


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


def test_work_and_memory_grow_with_the_number_of_texts_whatever_they_share():
    """A template in all of them would make twelve million pairs."""
    template = "Please reason step by step and put the final answer in a box at the end of what you write ."
    texts = [f"{' '.join(f'w{i}x{place}' for place in range(20))} {template}" for i in range(5000)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    assert found(texts) == {}
    assert time.process_time() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KB
