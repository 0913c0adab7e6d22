"""Verifiers of answers: the same text, or the same number."""

import itertools
import json
import math
import re
import unicodedata
from collections import deque
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from weighted_mtp.verifiers.base import Verdict, Verifier

TOLERANCE = Fraction(1, 10**6)
"""Relative, and only between an answer that is no integer and a decimal."""
_LONGEST_TEXT = 20_000  # characters from the end of a text that are read
_LONGEST_NUMBER = 1_000  # characters of a number, thousands separators included
_LARGEST_EXPONENT = 1_000  # 1e999999999 is not worth computing


class ExactMatch(Verifier):
    """Passes a completion that is the answer, character by character.

    White space around both is dropped and both are in Unicode's composed form (NFC), so that "é" is "é" however it
    was typed. Nothing else is done: case, inner white space, punctuation and "4" against "4.0" all count. An answer
    that is a JSON number is the text that JSON writes it as.
    """

    requires = ("completion", "answer")

    def check(self, row: Mapping[str, Any]) -> Verdict:
        """`pass`, `fail` or `error`."""
        completion, answer = row.get("completion"), row.get("answer")
        if isinstance(answer, int | float) and not isinstance(answer, bool):
            answer = json.dumps(answer)
        if not isinstance(completion, str) or not isinstance(answer, str) or not answer.strip():
            return "error"
        given, right = (unicodedata.normalize("NFC", text.strip()) for text in (completion, answer))
        return "pass" if given == right else "fail"


class NumericMatch(Verifier):
    r"""Passes a completion whose number is the answer's.

    The number of a text is the first one behind its last "####" or inside its last \\boxed{...}, whichever begins
    later, and where there is neither, the last one anywhere (`find_number` says what a number is). Only the last
    20,000 characters are read.

    Two numbers match if they are equal as fractions. Where the answer is no integer and one of the two is written
    with a decimal point or an exponent, a relative difference of up to 1e-6 passes too: 0.333333 is 1/3, 0.3333 is
    not. An integer answer must be met exactly.

    The answer is text, read in the same way (GSM8K's whole solution will do), or a JSON number. A row whose answer
    holds no finite number is an `error`; a completion without a number fails.

    Source: "####": Cobbe et al. 2021 (GSM8K, arXiv 2110.14168); the box: Hendrycks et al. 2021 (MATH, 2103.03874).
    """

    requires = ("completion", "answer")

    def check(self, row: Mapping[str, Any]) -> Verdict:
        """`pass`, `fail` or `error`."""
        completion, answer = row.get("completion"), _answer(row.get("answer"))
        if not isinstance(completion, str) or answer is None:
            return "error"
        found = find_number(completion)
        return "pass" if found is not None and _match(found, answer) else "fail"


class Number(NamedTuple):
    """A number as it was written."""

    value: Fraction
    decimal: bool
    """Whether it has a decimal point or an exponent, and so may be rounded."""


def _answer(answer: Any) -> Number | None:
    if isinstance(answer, str):
        return find_number(answer)
    if isinstance(answer, bool) or not isinstance(answer, int | float) or not math.isfinite(answer):
        return None
    if isinstance(answer, int):
        return Number(Fraction(answer), decimal=False)
    return Number(Fraction(repr(answer)), decimal=True)  # 0.1 means a tenth, not the float next to it


def _match(found: Number, answer: Number) -> bool:
    if found.value == answer.value:
        return True
    rounded = answer.value.denominator > 1 and (found.decimal or answer.decimal)
    return rounded and abs(found.value - answer.value) <= TOLERANCE * abs(answer.value)


# Possessive quantifiers (++, {1,300}+) never give back what they took, which keeps the search linear.
_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3}){1,300}+(?![0-9])|[0-9]++)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.[0-9]++)?|\.[0-9]++)"
_PART = r"[-+]?[0-9]++(?:\.[0-9]++)?"
_NUMBER = re.compile(
    rf"""
    (?P<sign>(?<![0-9A-Za-z)\]}}])[-+])?      # behind a digit, a letter or a bracket it is an operator
    (?:[$€£¥₩₹]\s?)? (?P<inner_sign>(?<=[$€£¥₩₹\s])[-+])?
    (?:
        (?:(?<![0-9A-Za-z_^])(?P<whole>[0-9]++)\s?)? \\[dt]?frac\s?
        (?: \{{\s?(?P<f1>{_PART})\s?\}}\s?\{{\s?(?P<f2>{_PART})\s?\}} | (?P<f3>[0-9])\s?(?P<f4>[0-9]) )
    |   (?<![0-9A-Za-z_^])(?<!\^\{{) (?:(?P<units>[0-9]++)\s(?=[0-9]++\s?/\s?[0-9]))?
        (?P<over>{_DECIMAL})\s?/\s?(?P<under>{_DECIMAL})
    |   (?<![0-9A-Za-z_^])(?<!\^\{{)
        (?P<decimal>{_DECIMAL}) (?:[eE](?P<exponent>[-+]?[0-9]++))?
        (?:\s?(?:\\times|\\cdot|[×·*x])\s?10\s?(?:\^|\*\*)\s?\{{?(?P<power>[-+]?[0-9]++)\}}?)?
    )
    """,
    re.VERBOSE,
)


def find_number(text: str) -> Number | None:
    r"""The number that a text gives as its answer, or None.

    Read are signs (also Unicode's minus), thousands separators (`1,234`, LaTeX's `1{,}234` and `1\\,234`), decimals,
    exponents (`1e-3`, `2 \\times 10^{5}`), fractions (`3/4`, `\\frac{3}{4}`, `\\frac34`) and mixed ones (`1 3/4`). A
    currency or percent sign is passed over: 50% is 50. A sign behind a digit, a letter or a bracket is an operator,
    so that `10-3` ends in 3. Digits that belong to a word, an index or a power (`x_1`, `H2O`, `m^2`) are no numbers;
    neither are nan and inf, a division by zero, more than 1,000 characters, or a power of ten beyond 1,000. A decimal
    comma is not known.

    Examples:
        >>> find_number("She pays 3 * 24 = 72 dollars.\n#### $1,072.50 in 2 days")
        Number(value=Fraction(2145, 2), decimal=True)
        >>> find_number(r"so x is \boxed{-\frac{3}{4}} \text{ of } 10"), find_number("nan"), find_number("1e999999999")
        (Number(value=Fraction(-3, 4), decimal=False), None, None)
    """
    read = text[-_LONGEST_TEXT:]
    marked = _behind_marker(read)
    matches = _NUMBER.finditer(_plain(read if marked is None else marked))
    found = list(itertools.islice(matches, 1)) if marked is not None else deque(matches, maxlen=1)
    return _value(found[0]) if found else None


def _behind_marker(text: str) -> str | None:
    """What follows the last "####", or stands in the last box, whichever begins later; None: there is neither."""
    hashes, box = text.rfind("####"), text.rfind("\\boxed{")
    if hashes == box:
        return None
    return text[hashes + 4 :] if hashes > box else _braced(text[box + len("\\boxed{") :])


def _braced(text: str) -> str:
    """The text before the brace that closes one opened just before it; all of it where none does."""
    depth = 1
    for i, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return text[:i]
    return text


def _plain(text: str) -> str:
    """Without LaTeX's separators of thousands, its escaped dollar and Unicode's minus."""
    for written, meant in (("{,}", ","), ("\\!", ""), ("\\,", ""), ("\\$", "$"), ("\N{MINUS SIGN}", "-")):
        text = text.replace(written, meant)
    return text


def _value(match: re.Match[str]) -> Number | None:
    if len(match[0]) > _LONGEST_NUMBER:
        return None
    negative = (match["sign"] == "-") != (match["inner_sign"] == "-")
    number = _unsigned(match)
    return Number(-number.value, number.decimal) if number and negative else number


def _unsigned(match: re.Match[str]) -> Number | None:
    if match["decimal"] is not None:
        power = _exponent(match["exponent"]), _exponent(match["power"])
        if None in power:
            return None
        digits = match["decimal"]
        value = Fraction(digits.replace(",", "")) * Fraction(10) ** sum(filter(None, power))
        return Number(value, decimal="." in digits or any(match[name] for name in ("exponent", "power")))
    over, under = (
        (match[a] or match[b] or match[c]).replace(",", "") for a, b, c in (("over", "f1", "f3"), ("under", "f2", "f4"))
    )
    if not Fraction(under):
        return None
    whole = match["units"] or match["whole"] or "0"
    return Number(int(whole) + Fraction(over) / Fraction(under), decimal="." in over + under)


def _exponent(text: str | None) -> int | None:
    """0 where none is written, None where it is too large."""
    if text is None:
        return 0
    return int(text) if len(text) <= 5 and abs(int(text)) <= _LARGEST_EXPONENT else None
