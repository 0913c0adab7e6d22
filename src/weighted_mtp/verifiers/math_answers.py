"""Answers in mathematics judged by math-verify, in a sandbox: expressions, sets, intervals, matrices, text, choices."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from weighted_mtp.verifiers.answers import as_number, same_number
from weighted_mtp.verifiers.base import Judgement
from weighted_mtp.verifiers.numbers import plain
from weighted_mtp.verifiers.stated_answer import find_number, stated_number, stated_text
from weighted_mtp.verifiers.worker import LibraryVerifier

_LONGEST = 2_000  # characters from the end of a completion, or of an answer, that are compared
_BOX = re.compile(r"\\(?:boxed|fbox)\s?\{")
_DRESSED = re.compile(r"\$|\\\(|\\\[|\\boxed")
_ENDS = " .,;"
_NAKED = re.compile(r"√\s?(\w+)|π|(?<![\\A-Za-z])pi\b")
_CHOICE = re.compile(r"\W*(?:(?:option|choice|answer)\s*)?\(?\b([A-Z])\b\)?(?:\s*[).:]\s*(\S.*)?)?", re.DOTALL)
_CHOSEN = re.compile(
    r"\W*(?:(?:[Tt]herefore|[Tt]hus|[Hh]ence|[Ss]o)\W+)?(?:(?:the\s)?(?:[Oo]ption|[Cc]hoice|[Aa]nswer)\W*)?\(?\b([A-Z])\b\)?\s*(?:[^\w\s](?!.*\b[B-Z]\b).*|(?:because|since|as|is\s+(?:correct|right))\b.*)?",
    re.DOTALL,
)
_BASED = re.compile(r"([0-9A-F]+)\s?_\s?\{?\s?([0-9]{1,2})\s?\}?")  # digits in another base
_LETTERED = re.compile(
    r"^\s*\\(?:text|textbf|mathrm|mathbf)\s?\{\s?\(?[A-J]\)?[.:)]?(?:\s|~|\\ )*\}(?:\s|~|\\[,;: ]|\\q?quad)*(?=\S)"
)
_TEXT = re.compile(r"[\s(\"'*]*(?!(?:sin|cos|tan|log|ln|sqrt|pi|exp|max|min)\b)[^\W\d_]{2,}[\w\s.,;:'’()/&-]*")
_SAID = re.compile(r"\b(?:is|are|was|were)\b:?\s*|(?<![0-9 ]):\s+")
_PROSE = re.compile(r"\\(?:text|mbox|mathrm|operatorname)|[^\W\d_]{4}")


class MathMatch(LibraryVerifier):
    r"""Passes a completion whose answer is equal to the row's.

    The answer is LaTeX or plain text, or a list of several, any of which is right. A completion passes where
    `NumericMatch` would pass it, or where math-verify finds the two equal: expressions, equations, sets and lists,
    intervals, tuples, matrices. An answer in words ("Monday") must be met word by word, without regard to case, and a
    multiple-choice letter ("B", "(B)", "B) 12") by the letter, or by what stands behind it.

    The completion's answer is its last \boxed{...}, or boxes that stand together; else what follows the last "answer
    is" or "Answer:"; else the last formula, or number, in it. `error`: there is no answer, or nothing can be made of
    it. `timeout`: the comparison takes longer than `timeout` seconds by the wall clock; `workers` rows at a time, None:
    one a core. VerifierError: a timeout that is not positive, no math-verify, or no sandbox to be had.

    Source: math-verify, https://github.com/huggingface/Math-Verify.
    """

    requires: ClassVar[tuple[str, ...]] = ("completion", "answer")
    needs_end = True

    def __init__(self, timeout: float = 5.0, workers: int | None = None) -> None:
        super().__init__(("math-verify", '"weighted-mtp[math]"'), timeout, workers)

    def _judge(self, rows: list[Mapping[str, Any]]) -> list[Judgement]:
        read = [_compared(row["completion"], row.get("answer")) for row in rows]
        results = iter(self._score([job for job in read if isinstance(job, dict)]))
        return [_judgement(next(results)) if isinstance(job, dict) else job for job in read]


def _compared(completion: str, answer: Any) -> Judgement | dict[str, Any]:
    """The judgement where no algebra is needed; else what math-verify is asked."""
    answers = [text for one in (answer if isinstance(answer, list) else [answer]) if (text := _as_text(one))]
    if not answers:
        return Judgement("error", reason="there is no answer")
    found, certain = find_number(completion), stated_number(completion)
    stated, golds = stated_text(completion), []
    bare = _LETTERED.sub("", stated).rstrip(_ENDS)
    bare = bare if _DRESSED.search(bare) else _SAID.split(bare)[-1]
    found = found or as_number(bare)
    for text in answers:
        number = as_number(text)
        if number and found and same_number(found, number):
            return Judgement("pass")
        same = _same_words(text, stated)
        if same or _spelled(text.rstrip(_ENDS)) == _spelled(bare):
            return Judgement("pass")
        golds += [] if same is not None or (number and certain) else _forms(text)
    if not golds:
        return Judgement("fail", reason="another number, or other words")
    targets, tail = _forms(bare), completion[-_LONGEST:]
    if _DRESSED.search(tail) and len(_BOX.findall(completion)) != 1:
        targets.append(tail)
    return {"golds": golds, "targets": targets, "alone": False}


def _as_text(answer: Any) -> str:
    if isinstance(answer, str):
        return answer.strip()
    return "" if as_number(answer) is None else str(answer)


def _forms(text: str) -> list[str]:
    """A text as math-verify may read it."""
    text = " ".join(text[-_LONGEST:].replace("\\$", "").replace("\\varnothing", "\\emptyset").split())
    text = _NAKED.sub(lambda found: f"\\sqrt{{{found[1]}}}" if found[1] else "\\pi ", text)
    if _DRESSED.search(text):
        return [text]
    return [f"${text}$"] if text else []


def _same_words(answer: str, stated: str) -> bool | None:
    """Whether an answer in words, or a letter, is met; None where it is no such answer."""
    right, given = plain(answer).strip(" $.{}"), plain(stated).strip(" $.{}*")
    said = [given, _SAID.split(given)[-1]]
    if choice := _CHOICE.fullmatch(right):
        if chosen := next(filter(None, map(_CHOSEN.fullmatch, said)), None):
            return chosen[1] == choice[1]
        content = choice[2]
        number, found = (as_number(content), as_number(given)) if content else (None, None)
        return bool(content) and (
            _words(content) == _words(given) or bool(number and found and same_number(found, number))
        )
    if stated and (based := _BASED.fullmatch(right)):
        found = _BASED.fullmatch(given) or re.fullmatch(r"(\w+)()", given)
        return found is not None and found[1] == based[1] and found[2] in ("", based[2])
    if not _TEXT.fullmatch(right):
        return None
    return _words(right) in map(_words, filter(_TEXT.fullmatch, said)) or (False if _PROSE.search(answer) else None)


def _spelled(text: str) -> str:
    return re.sub(r"[\s${}]", "", plain(text))


def _words(text: str) -> list[str]:
    words = re.findall(r"\w+", plain(text).casefold())
    return words[1:] if words[:1] in (["the"], ["a"], ["an"]) and len(words) > 1 else words


def _judgement(result: Mapping[str, Any]) -> Judgement:
    if "timeout" in result:
        return Judgement("timeout", reason="the comparison takes too long")
    score = result.get("score")
    if score == -1.0:
        return Judgement("error", reason="nothing can be made of the answer")
    return Judgement("pass") if score == 1.0 else Judgement("fail", reason="it is not equal to the answer")
