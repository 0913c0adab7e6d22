"""What a mistyped name may mean: the one "did you mean"."""

import difflib
from collections.abc import Collection, Iterable


def nearest(name: str, known: Iterable[str], at_most: int = 1) -> list[str]:
    """Known names spelled alike, the nearest first; else up to 3 of these initials, or with this as a part.

    Examples:
        >>> nearest("softmx", ["uniform", "softmax"]), nearest("lr", ["learning_rate", "lora_rank", "seed"])
        (['softmax'], ['learning_rate', 'lora_rank'])
    """
    known = list(known)
    if near := difflib.get_close_matches(name, known, n=at_most, cutoff=0.5):
        return near
    initials = {other: "".join(part[0] for part in other.split("_") if part) for other in known}
    return [other for other in known if initials[other] == name or (len(name) > 2 and name in other)][:3]


def unknown(kind: str, given: str, known: Collection[str]) -> str:
    """A mistyped name, with those that are near: spelled alike, of these initials, or with this as a part.

    >>> unknown("setting", "lr", ["learning_rate", "lora_rank", "seed"])
    "unknown setting 'lr': did you mean learning_rate or lora_rank?"
    """
    near = nearest(given, known)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(known)}"
    return f"unknown {kind} {given!r}: {hint}"
