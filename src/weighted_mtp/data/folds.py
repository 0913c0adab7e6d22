"""Splits by task, so that no fold holds what another one was trained on, near-duplicates of it included."""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

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


def split_tasks(tasks: Sequence[str], together: Iterable[tuple[str, str]], folds: int, seed: int = 0) -> dict[str, int]:
    """A fold for each task; tasks that must not be parted, also by way of others, share one.

    The largest groups are placed first, each in the fold that has the fewest tasks, ties by chance.

    Args:
        tasks: their names.
        together: pairs of tasks of which no fold may hold one without the other.
        folds: how many, at least 2.
        seed: of the order of groups of the same size, and of ties.

    Returns:
        Task -> fold, from 0.

    Raises:
        ValueError: fewer groups than folds, or fewer than 2 folds.

    Examples:
        >>> split = split_tasks(["a", "b", "c", "d"], [("a", "b")], folds=2)
        >>> split["a"] == split["b"] != split["c"] == split["d"]
        True
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
    leader = {task: task for task in tasks}

    def find(task: str) -> str:
        while leader[task] != task:
            leader[task] = leader[leader[task]]
            task = leader[task]
        return task

    for first, second in together:
        leader[find(second)] = find(first)
    groups: dict[str, list[str]] = defaultdict(list)
    for task in tasks:
        groups[find(task)].append(task)
    return list(groups.values())
