"""Verifiers of answers: the same text, or the same number."""

import json
import math
import unicodedata
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from weighted_mtp.verifiers.base import Judgement, Verdict, Verifier
from weighted_mtp.verifiers.numbers import Number
from weighted_mtp.verifiers.stated_answer import find_number, stated_number

TOLERANCE = Fraction(1, 10**6)
"""Relative, and only between an answer that is no integer and a decimal."""


class ExactMatch(Verifier):
    """Passes a completion that is the answer, character by character.

    White space around both is dropped and both are in Unicode's composed form (NFC). Nothing else is done: case, inner
    white space, punctuation and "4" against "4.0" all count. A JSON number is the text that JSON writes it as.
    """

    requires = ("completion", "answer")
    needs_end = True

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

    The answer is a JSON number, or text that is one number (`stated_number`): GSM8K's whole solution will do, and so
    will \boxed{...}. Any other, a list, an interval, 2\sqrt{3}, is an `error` and never a guess. A completion whose
    answer is not one number (`find_number`) fails.

    Two numbers match if they are equal as fractions. Where the answer is no integer and one of the two is written
    with a decimal point or an exponent, a relative difference of up to 1e-6 passes too: 0.333333 is 1/3, 0.3333 is
    not. An integer answer must be met exactly. Where one of them has a percent sign, 50% is both 50 and 0.5.

    Source: "####": Cobbe et al. 2021 (GSM8K, arXiv 2110.14168); the box: Hendrycks et al. 2021 (MATH, 2103.03874).
    """

    requires = ("completion", "answer")
    needs_end = True

    def check(self, row: Mapping[str, Any]) -> Verdict | Judgement:
        """`pass`, `fail` or `error`."""
        completion, answer = row.get("completion"), as_number(row.get("answer"))
        if not isinstance(completion, str):
            return Judgement("error", reason="there is no completion")
        if answer is None:
            return Judgement("error", reason="the answer is not one number")
        found = find_number(completion)
        if found is None:
            return Judgement("fail", reason="the completion does not end in one number")
        return "pass" if same_number(found, answer) else Judgement("fail", reason="another number")


def as_number(answer: Any) -> Number | None:
    """The number that an answer of a row is, None where it is not one."""
    if isinstance(answer, str):
        return stated_number(answer)
    if isinstance(answer, int) and not isinstance(answer, bool):
        return Number(Fraction(answer), decimal=False)
    if not isinstance(answer, float) or not math.isfinite(answer):
        return None
    return Number(Fraction(repr(answer)), decimal=True)  # 0.1 means a tenth, not the float next to it


def same_number(found: Number, answer: Number) -> bool:
    """Whether they are equal, as `NumericMatch` says."""
    if found.percent != answer.percent:
        scaled = [Number(number.value / (100 if number.percent else 1), number.decimal) for number in (found, answer)]
        return _equal(*scaled) or _equal(found, answer)
    return _equal(found, answer)


def _equal(found: Number, answer: Number) -> bool:
    rounded = answer.value.denominator > 1 and (found.decimal or answer.decimal)
    return found.value == answer.value or (rounded and abs(found.value - answer.value) <= TOLERANCE * abs(answer.value))
