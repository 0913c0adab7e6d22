"""The program that checks chains, and how a draw came out. It knows nothing of the generator."""

import re
from collections.abc import Sequence

from .schema import Row

_PROMPT = re.compile(r"\s*(\d)((?:\s+[+*-]\d)+)\s*:\s*")


def verify(prompt: str, completion: str) -> bool:
    """Whether a completion solves its prompt: one digit for each operation, and the last one is right.

    The program that checks. It reads only the prompt's text and knows nothing of the generator. Results on
    the way do not count: a chain that went wrong and came back is right.

    Raises:
        ValueError: when the prompt is not a chain. A completion can be anything: what is no chain is False.

    Examples:
        >>> verify("7 +3 *7 +7 *3 :", "0 0 7 1")
        True
        >>> verify("7 +3 *7 +7 *3 :", "0 0 7 2"), verify("7 +3 *7 +7 *3 :", "1"), verify("7 +3 :", "zero")
        (False, False, False)
    """
    match = _PROMPT.fullmatch(prompt)
    if match is None:
        raise ValueError(f"{prompt!r} is not a chain such as '7 +3 *7 :'")
    result, operations = int(match[1]), match[2].split()
    for operation in operations:
        sign, digit = operation[0], int(operation[1])
        result = {"+": result + digit, "-": result - digit, "*": result * digit}[sign] % 10
    written = completion.split()
    return (
        len(written) == len(operations)
        and all(len(w) == 1 and w in "0123456789" for w in written)
        and int(written[-1]) == result
    )


def share_right(rows: Sequence[Row]) -> float:
    """The share of rows whose label is right."""
    return sum(row["label"] for row in rows) / len(rows)


def share_right_with_error(rows: Sequence[Row]) -> float:
    """Of the rows whose label is right, the share that holds a wrong token; 0.0 when no row is right."""
    right = [any(row["token_error"]) for row in rows if row["label"]]
    return sum(right) / len(right) if right else 0.0
