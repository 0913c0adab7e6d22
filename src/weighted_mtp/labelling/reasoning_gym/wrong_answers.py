"""Wrong answers made from right ones. A verifier has the last word: some problems have many right answers."""

import itertools
import random
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

_ELEMENT = re.compile(r"[^\s,;\[\](){}'\"]+")


class Changed(NamedTuple):
    """An answer that is no longer the right one, and what was done to it."""

    text: str
    made_by: str
    """`corrupted:digit`, `corrupted:swap` or `other_item`."""
    span: tuple[int, int] | None
    """The characters that were changed, [start, end); None where the whole answer is another one."""


def change_digit(answer: str, generator: random.Random) -> Changed | None:
    """One digit replaced by another one; None where there is no digit."""
    places = [match.start() for match in re.finditer("[0-9]", answer)]
    if not places:
        return None
    place = generator.choice(places)
    digit = generator.choice([digit for digit in "0123456789" if digit != answer[place]])
    return Changed(answer[:place] + digit + answer[place + 1 :], "corrupted:digit", (place, place + 1))


def swap_neighbours(answer: str, generator: random.Random) -> Changed | None:
    """Two neighbouring elements swapped, or two letters where there is but one; None where all are the same."""
    elements = [match.span() for match in _ELEMENT.finditer(answer)]
    if len(elements) == 1:
        start, end = elements[0]
        elements = [(place, place + 1) for place in range(start, end)]
    pairs = [
        (first, second)
        for first, second in itertools.pairwise(elements)
        if answer[slice(*first)] != answer[slice(*second)]
    ]
    if not pairs:
        return None
    (start, first_end), (second_start, end) = generator.choice(pairs)
    swapped = answer[second_start:end] + answer[first_end:second_start] + answer[start:first_end]
    return Changed(answer[:start] + swapped + answer[end:], "corrupted:swap", (start, end))


def wrong_answers(answer: str, others: Sequence[str], count: int, generator: random.Random) -> list[Changed]:
    """Up to `count` different ones, of each kind in turn, the kinds in random order. Where the other items have few
    answers between them, as yes and no, the wrong ones are among those: a word that is never right would be known by
    its looks."""
    choices = sorted({other for other in others if other.strip() != answer.strip()})

    def take_other(answer: str, generator: random.Random) -> Changed | None:
        return Changed(generator.choice(choices), "other_item", None) if choices else None

    kinds: list[Callable[[str, random.Random], Changed | None]] = [take_other]
    if 2 * len(choices) > len(others):
        kinds += [change_digit, swap_neighbours]
        generator.shuffle(kinds)
    found: dict[str, Changed] = {}
    for kind in kinds * (2 * count):
        changed = kind(answer, generator)
        if changed is not None and changed.text.strip() != answer.strip():
            found.setdefault(changed.text, changed)
        if len(found) == count:
            break
    return list(found.values())
