"""How far tasks are alike, by the shingles that their texts share."""

import re
from collections import defaultdict
from collections.abc import Mapping

_TOKEN = re.compile(r"\w+|[^\w\s]")


def shingles(text: str, width: int = 5) -> frozenset[tuple[str, ...]]:
    """All runs of `width` words and signs; a shorter text is one of its own.

    Examples:
        >>> sorted(shingles("return a + b", 3))
        [('a', '+', 'b'), ('return', 'a', '+')]
    """
    tokens = _TOKEN.findall(text)
    return frozenset(tuple(tokens[i : i + width]) for i in range(max(1, len(tokens) - width + 1)))


def near_duplicates(texts: Mapping[str, str], threshold: float = 0.5, width: int = 5) -> dict[tuple[str, str], float]:
    """Pairs of texts of which the shorter one stands in the longer one to a large part.

        containment(A, B) = |A & B| / min(|A|, |B|)      of their sets of shingles

    Source: Broder 1997, "On the resemblance and containment of documents".

    Args:
        texts: by name.
        threshold: pairs from this containment on, in (0, 1].
        width: words and signs a shingle.

    Returns:
        The containment of each pair, in the order of the names.

    Raises:
        ValueError: a threshold outside (0, 1].

    Examples:
        >>> near_duplicates({"a": "for x in xs : y += x", "b": "for x in xs : y += x * 2", "c": "return None"})
        {('a', 'b'): 1.0}
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold is {threshold}: give a number in (0, 1]")
    sets = {name: shingles(text, width) for name, text in texts.items()}
    holders: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, found in sets.items():
        for shingle in found:
            holders[shingle].append(name)
    order = {name: place for place, name in enumerate(sets)}
    shared: dict[tuple[str, str], int] = defaultdict(int)
    for names in holders.values():
        for place, first in enumerate(names):
            for second in names[place + 1 :]:
                shared[first, second] += 1
    pairs = {pair: n / min(len(sets[pair[0]]), len(sets[pair[1]])) for pair, n in shared.items()}
    close = [pair for pair, containment in pairs.items() if containment >= threshold]
    return {pair: pairs[pair] for pair in sorted(close, key=lambda pair: (order[pair[0]], order[pair[1]]))}


def task_closeness(prompts: Mapping[str, str], completions: Mapping[str, str]) -> dict[tuple[str, str], float]:
    """How far every two tasks that share a shingle are alike: the largest containment of three texts.

    Args:
        prompts: of each task.
        completions: a right one of each task that has any.

    Returns:
        Pair -> the largest containment of prompts, of completions, and of both as one: a solution may be the helper
        that another task's prompt holds.

    Examples:
        >>> task_closeness({"a": "def double ( x ) :", "b": "def double ( y ) :"}, {"a": "return 2 * x"})
        {}
        >>> task_closeness({"a": "def f ( x ) :", "b": "def f ( x ) :"}, {})
        {('a', 'b'): 1.0}
    """
    whole = {task: prompts[task] + text for task, text in completions.items()}
    found: dict[tuple[str, str], float] = {}
    for texts in (prompts, completions, whole):
        for pair, share in near_duplicates(texts, threshold=1e-9).items():
            found[pair] = max(share, found.get(pair, 0.0))
    return found
