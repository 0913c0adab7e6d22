"""Containment of texts by its definition: what `Overlap` is checked against."""

import itertools
import re
from collections.abc import Mapping


def shingles(text: str, width: int = 5) -> frozenset[tuple[str, ...]]:
    """All runs of `width` words and signs; a shorter text is one of its own."""
    tokens = re.findall(r"\w+|[^\w\s]", text)
    return frozenset(tuple(tokens[i : i + width]) for i in range(max(1, len(tokens) - width + 1)))


def near_duplicates(texts: Mapping[str, str], threshold: float = 0.5) -> list[tuple[str, str]]:
    """Pairs of which the smaller set of shingles lies in the other to this part."""
    sets = {name: shingles(text) for name, text in texts.items()}
    pairs = itertools.combinations(sets, 2)
    return [(a, b) for a, b in pairs if len(sets[a] & sets[b]) >= threshold * min(len(sets[a]), len(sets[b]))]
