"""Splits by task, and how much of one text stands in others, so that no fold holds what another one was trained on.
Shingles that more than `popular_limit` texts hold (of a template, an instruction) are not counted, and passages of them
are cut out, which also bounds work and memory by the number of texts."""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_TOKEN = re.compile(r"\w+|[^\w\s]")  # words and signs, the units that shingles are made of
_WIDTH = 5
_FEW = 32  # texts that may share a run of words as copies of one problem do; a template is in more of them
_SHARE = 100  # in large sets, copies may make one in so many of the texts
_PASSAGE = 8  # words and signs in a row, all in popular shingles, from which on they are a template and no idiom


def split_tasks(tasks: Sequence[str], together: Iterable[tuple[str, str]], folds: int, seed: int = 0) -> dict[str, int]:
    """A fold, from 0, for each task; pairs in `together` must not be parted, so they share one, also by way of others.

    The largest groups are placed first, each in the fold that has the fewest tasks, ties by chance.
    """
    if folds < 2:
        raise ValueError(f"folds is {folds}: give at least 2")
    groups = groups_of(tasks, together)
    if len(groups) < folds:
        raise ValueError(
            f"{len(tasks)} tasks make {len(groups)} groups that cannot be parted: too few for {folds} folds"
        )
    generator = random.Random(seed)
    generator.shuffle(groups)
    groups.sort(key=len, reverse=True)
    sizes, split = [0] * folds, dict[str, int]()
    for group in groups:
        fold = min(range(folds), key=lambda fold: (sizes[fold], generator.random()))
        sizes[fold] += len(group)
        split |= dict.fromkeys(group, fold)
    return {task: split[task] for task in tasks}


def groups_of(tasks: Sequence[str], together: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Tasks that must not be parted, also by way of others: connected components, in the order of the tasks."""
    from scipy.cluster.hierarchy import DisjointSet

    united: Any = DisjointSet(tasks)
    for first, second in together:
        united.merge(first, second)
    groups: dict[str, list[str]] = defaultdict(list)
    for task in tasks:
        groups[united[task]].append(task)
    return list(groups.values())


def popular_limit(n_texts: int) -> int:
    """In how many texts a shingle may stand and still say something about two of them: 32, or a hundredth of the texts
    where that is more; among 10 to 35 texts, nine tenths: what nearly all of them hold tells none from another.
    """
    limit = max(_FEW, n_texts // _SHARE)
    return limit if n_texts < 10 else min(limit, n_texts * 9 // 10)


class Overlap:
    """Containment of every two texts that share a shingle, one text after the other, in linear memory.

        containment(A, B) = |A & B| / min(|A|, |B|)      of their sets of shingles, runs of 5 words and signs

    Passages of popular shingles (`popular_limit`) are cut out of each text first, and lone ones are not counted. Texts
    that are the same word for word have containment 1, however many they are; ones of fewer than `least` words and
    signs say nothing.

    Source: Broder 1997, "On the resemblance and containment of documents".

    Examples:
        >>> overlap = Overlap(["for x in xs : y += x", "for x in xs : y += x * 2", "return None"])
        >>> [(a, b, share) for a, found in overlap.pairs() for b, share in found.items()]
        [(0, 1, 1.0)]
    """

    def __init__(self, texts: Sequence[str], least: int = 1) -> None:
        split = [words if len(words := _TOKEN.findall(text)) >= least else [] for text in texts]
        limit = popular_limit(len(texts))
        same: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for number, its_words in enumerate(split):
            same[tuple(its_words)].append(number)
        same.pop((), None)
        self._copies = {first: second for copies in same.values() for first, second in pairwise(copies)}
        words = _coded(split)
        held = _Shingles.of(words, len(texts))
        popular = held.counts > limit
        self.n_popular = int(popular.sum())
        """Shingles that were not counted."""
        if self.n_popular:
            kept = ~_passages(words, held.runs, popular)
            held = _Shingles.of(_Words(words.code[kept], words.text[kept]), len(texts))
        self._sizes = np.bincount(held.text[held.counts[held.shingle] <= limit], minlength=len(texts)).tolist()
        # which texts hold each shingle that two at least hold, and few enough
        shared = ((held.counts > 1) & (held.counts <= limit))[held.shingle]
        self._held: list[list[int]] = [[] for _ in texts]
        self._holders: dict[int, list[int]] = defaultdict(list)
        for shingle, text in zip(held.shingle[shared].tolist(), held.text[shared].tolist(), strict=True):
            self._held[text].append(shingle)
            self._holders[shingle].append(text)

    def pairs(self) -> Iterator[tuple[int, dict[int, float]]]:
        """Each text, and the containment with each later one that shares a shingle with it."""
        for first, held in enumerate(self._held):
            shared: Counter[int] = Counter()
            for shingle in held:
                shared.update(self._holders[shingle])
            size = self._sizes[first]
            found = {
                second: count / min(size, self._sizes[second]) for second, count in shared.items() if second > first
            }
            if first in self._copies:
                found[self._copies[first]] = 1.0
            yield first, found


class _Words(NamedTuple):
    """All words of all texts, one after the other: a number of 64 bits for each, and the text that it stands in."""

    code: NDArray[np.uint64]
    text: NDArray[np.int64]


def _coded(texts: Sequence[Sequence[str]]) -> _Words:
    numbers: dict[str, int] = {}
    flat = [numbers.setdefault(word, len(numbers)) for words in texts for word in words]
    codes = np.random.default_rng(0).integers(2**64, size=len(numbers) + 1, dtype=np.uint64)
    return _Words(codes[np.array(flat, np.int64)], np.repeat(np.arange(len(texts)), [len(t) for t in texts]))


class _Shingles(NamedTuple):
    """The sets of shingles of all texts, and where they begin."""

    shingle: NDArray[np.int64]  # of each entry of a set, sorted
    text: NDArray[np.int64]  # whose set it is in
    counts: NDArray[np.int64]  # how many texts hold each shingle
    runs: NDArray[np.int64]  # the shingle that begins at each word; -1 where there is none

    @classmethod
    def of(cls, words: _Words, n_texts: int) -> "_Shingles":
        lengths = np.bincount(words.text, minlength=n_texts)
        width = np.minimum(lengths, _WIDTH)[words.text]  # a text shorter than a shingle is one of its own
        left = np.cumsum(lengths)[words.text] - np.arange(len(words.text))
        begins = np.flatnonzero(left >= width)
        total = width.astype(np.uint64)
        for place in range(_WIDTH):
            # 64 bits: among a million shingles, two agree by chance once in ten million
            ahead = np.zeros_like(words.code)
            ahead[: max(0, len(words.code) - place)] = words.code[place:]
            total = np.where(place < width, _mixed(total, ahead), total)
        distinct, numbers = np.unique(total[begins], return_inverse=True)
        entries = np.sort(numbers * max(n_texts, 1) + words.text[begins])
        entries = entries[np.diff(entries, prepend=-1) > 0]  # np.unique hashes here, ten times slower
        shingle, text = np.divmod(entries, max(n_texts, 1))
        runs = np.full(len(words.code), -1)
        runs[begins] = numbers
        return cls(shingle, text, np.bincount(shingle, minlength=len(distinct)), runs)


def _mixed(total: NDArray[np.uint64], word: NDArray[np.uint64]) -> NDArray[np.uint64]:
    total = total * np.uint64(0x9E3779B97F4A7C15) + word
    return total ^ (total >> np.uint64(29))


def _passages(words: _Words, runs: NDArray[np.int64], popular: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The words that popular shingles cover, one shingle beginning at each word of a passage."""
    begins = popular[runs] & (runs >= 0)
    edges = np.flatnonzero(np.diff(begins, prepend=False, append=False))  # where rows of such beginnings start and end
    covered = np.zeros(len(words.code), bool)
    for begin, end in edges.reshape(-1, 2).tolist():
        if end - begin + _WIDTH - 1 >= _PASSAGE:
            covered[begin : end + _WIDTH - 1] = True
    return covered
