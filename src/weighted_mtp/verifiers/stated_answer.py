"""Where in a text its answer stands, and whether that is one number."""

import re

from weighted_mtp.verifiers.numbers import NUMBER, Number, plain, value_of

_LONGEST_TEXT = 20_000  # characters from the end of a text that are read
_LONGEST_LINE = 1_000  # characters of a line, or a box, that are read

_BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s?\{")
_JOINED = re.compile(
    r"[ \t$,;\\()\[\]]*(?:and|or|\\text\{ ?(?:and|or) ?\}|\\q?quad)?[ \t$,;\\()\[\]]*(?:[A-Za-z] ?= ?)?"
)
_CUE = re.compile(r"(?:\banswer\b[^\n=:.?!0-9]{0,60}?(?:\bis\b|\bare\b|[:=])|^[ \t]*\**A:)[* \t]*", re.I | re.M)
_FINAL = re.compile(r"\bfinal answer is\b:?\s?\$?-?[0-9\\]", re.IGNORECASE)
_TAKEN_BACK = re.compile(r"\b(?:wait|actually|correction|mistake|wrong|recheck|instead)\b", re.IGNORECASE)
_REMARK = re.compile(r"(?<=\s)\([^()]*[a-z]{2}[^()]*\)")


def last_box(text: str) -> tuple[int, str] | None:
    r"""Where the last box of a text begins, and what it holds: "" where it is not closed, or one of a list of boxes.

    Examples:
        >>> last_box(r"so \boxed{x^{2}}."), last_box(r"\boxed{1} and \boxed{2}"), last_box("no")
        ((3, 'x^{2}'), (14, ''), None)
    """
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return None
    start, inside = boxes[-1].start(), _braced(text, boxes[-1].end())
    if len(boxes) > 1:
        before = _braced(text, boxes[-2].end())
        end = boxes[-2].end() + len(before) + 1
        if before != inside and end <= start <= end + 80 and _JOINED.fullmatch(text, end, start):
            return start, ""
    return start, inside


def _braced(text: str, start: int) -> str:
    """The text before the brace that closes one opened just before `start`; nothing where none does."""
    depth = 1
    for brace in re.compile(r"[{}]").finditer(text, start):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return text[start : brace.start()]
    return ""


def stated_number(text: str) -> Number | None:
    r"""The number that a text is, or that it marks as its answer.

    It is all of the last \boxed{...}, or of the line behind the last "####" (whichever begins later), or of what
    follows the last "answer is", "Answer:" or "A:", or of the text. All of it: but for units and words behind the
    number, `x =`, a currency, words up to "is" or a colon, and markup; `plain` says what LaTeX is read as.

    Examples:
        >>> stated_number("She pays 3 * 24 = 72 dollars.\n#### $1,072.50")
        Number(value=Fraction(2145, 2), decimal=True, percent=False)
        >>> stated_number(r"so \boxed{x = -\frac{3}{4} \text{ cm}}"), stated_number("(1, 2)"), stated_number("2\\pi")
        (Number(value=Fraction(-3, 4), decimal=False, percent=False), None, None)
    """
    box, behind = _marked(text)
    if box is not None:
        return _whole(box)
    cues = list(_CUE.finditer(behind))
    if behind.startswith("####"):
        return _whole(_first_line(behind[4:]), loose=True)
    return _whole(_first_line(behind[cues[-1].end() :]), loose=True) if cues else _whole(behind)


def find_number(text: str) -> Number | None:
    r"""The number that a completion gives as its answer, or None.

    It is that of the last \boxed{...} or "####", as `stated_number` reads them; where the line behind "####" is a
    heading ("Step 2"), of what follows. Else it is the number behind the last "answer is" or "Answer:" that a number
    follows, and that nothing behind it takes back; else the last number of the last line that has one, leaving out
    remarks in parentheses. A number that is part of an expression, a list, a range, a ratio or a date is none.

    Examples:
        >>> find_number("She has 5 apples left (Bob has 7)."), find_number("It is 2x + 3."), find_number("(1, 2)")
        (Number(value=Fraction(5, 1), decimal=False, percent=False), None, None)
    """
    box, behind = _marked(text)
    if box is not None:
        return _whole(box)
    if behind.startswith("####") and (found := _whole(_first_line(behind[4:]), loose=True)):
        return found
    for cue in reversed(list(_CUE.finditer(behind))):
        if found := _whole(_first_line(behind[cue.end() :]), loose=True):
            return _last_number(behind) if _TAKEN_BACK.search(behind, cue.end()) else found
    return _last_number(behind)


def _marked(text: str) -> tuple[str | None, str]:
    """What the last box holds, where it is what marks the answer; and the text from the last "####", or all of it."""
    read = text[-_LONGEST_TEXT:]
    start, box = last_box(read) or (-1, None)
    hashes = read.rfind("####")
    marked = max(hashes, *(final.start() for final in _FINAL.finditer(read)), -1)
    return (box, read) if start > marked else (None, read[max(marked, 0) :])


def stated_text(text: str) -> str:
    """The answer of a completion as it is written: what the last box holds, or stands behind "answer is", or the last
    line."""
    box, behind = _marked(text)
    cues = list(_CUE.finditer(behind))
    if box is not None:
        return box
    if cues or behind.startswith("####"):
        return _first_line(behind[cues[-1].end() if cues else 4 :]).strip()
    return (behind.strip().splitlines() or [""])[-1].strip()


def _first_line(text: str) -> str:
    return next((line for line in text[:_LONGEST_LINE].splitlines() if line.strip(" \t*#")), "")


# What is one number

_PREFIX = re.compile(
    r"(?!\W*(?-i:[B-Z])\W*[:)])(?:[^0-9\\=<>≤≥≠±^{\[]{0,80}(?:\b(?:is|are|equals|equal\sto|be|was|were)\b|:):?\s*)?"
    r"(?:\b(?:about|approximately|approx\.|roughly|exactly|around|only|just|nearly|almost|at|a\stotal\sof)\s+)*[≈~]?\s*",
    re.IGNORECASE,
)
_BRACED = re.compile(r"\{[^{}]*\}")
_RELATION = re.compile(r"[<>≤≥≠≡]|[!:]=|\\(?:leq?|geq?|neq?|lt|gt|equiv|pm|in)(?![a-z])")
_SEVERAL = re.compile(r"[,;](?![0-9]{3})|\bor\b|\band\b")
_NAME = re.compile(
    r"\W*(?:\\?[A-Za-z]{3,}|\\?[A-Z]+|[A-Za-zα-ω])'?(?:_\s?\{?\s?\w+\s?\}?)?(?:(?:\^\{?-1\}?)?\(.*\))?(?:\s+[A-Za-z]{2,})*\W*"
    r"|[A-Za-z]{3,}(?:\s+[A-Za-z]+)+\s*|(?:[^A-Za-z\\]|[A-Za-z]{3,}|\\(?:sqrt|frac|div)(?![a-z]))*+"
)
_UNIT = re.compile(
    r"(?:[\s/·.,;:$€£¥₩₹¢°'\"′″-]|\([^()0-9]{0,60}\)|[^\W\d_]++(?:\s?\^\s?\{?\s?-?[1-4]\s?\}?|[23]\b)?)*+"
)
_WORD = re.compile(r"[^\W\d_]+")
_SHORT = {
    "cm", "mm", "km", "kg", "mg", "ml", "dm", "ft", "in", "yd", "mi", "lb", "oz", "hr", "am", "pm", "kb", "mb", "gb",
    "st", "nd", "rd", "th", "ms", "mph", "kph", "ha", "usd", "eur",
}  # fmt: skip
_LETTERS = set("mgslLhVWNJKCFAa")
_NO_UNITS = {
    "or", "and", "mod", "base", "if", "when", "where", "plus", "minus", "times", "to", "from", "than", "factorial",
    "squared", "cubed", "choose", "sqrt", "pi", "sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "lim",
    "max", "min", "gcd", "lcm",
}  # fmt: skip
_GOES_ON = re.compile(
    r"""\s?[,/:.'–-]?[0-9] | \s*[*/^×÷·+=<>≤≥≠–-]\s*(?:[0-9(\\√]|\$[0-9]|[A-Za-z]\b) | \s*[\\√_^π] | \s?\(\s?[0-9a-z]\b
    | \s*(?:or|and|to|,)\s+[-$]?[0-9]+(?!\s?[A-Za-z]{2}) | \s*[a-zA-Z]\s?[=+] | \s+[xyzn]\b | \s*\?\s*\S
    | \s*\)\s*(?:[*^]|/\s?\()""",
    re.VERBOSE,
)


def _whole(text: str, loose: bool = False) -> Number | None:
    """The number that a text is; loose: words behind it may hold others."""
    if len(text) > _LONGEST_LINE:
        return None
    line = plain(text).strip(" \t\n$*_\"'").rstrip(" .,;:$*_\"'" + "!" * loose)
    while _BRACED.fullmatch(line):
        line = line[1:-1].strip()
    if _RELATION.search(line):
        return None
    exact, _, rounded = line.partition("≈")
    first, *others = re.split("[=⇒]", exact if re.search("[0-9]", exact) else rounded)
    if others and (_SEVERAL.search(" ".join(others[:-1])) or not (loose or _NAME.fullmatch(first))):
        return None
    last = others[-1].strip(" $") if others else first
    prefix = _PREFIX.match(last)
    found = NUMBER.match(last, prefix.end() if prefix else 0)
    if not found or not _is_unit(last[found.end() :], loose) or (found["scale"] == "k" and not loose):
        return None
    return value_of(found)


def _is_unit(rest: str, loose: bool) -> bool:
    """Whether what stands behind a number leaves it one number."""
    if not rest:
        return True
    words = _WORD.findall(rest)
    attached = rest[0].isalpha() and rest[0].isascii()
    if attached and len(words[0]) < 3 and words[0].lower() not in _SHORT and not (loose and words[0] in _LETTERS):
        return False
    if _GOES_ON.match(rest) or (words and words[0].lower() in _NO_UNITS - {"and", "to", "if", "when", "from"}):
        return False
    if loose:
        return True
    letters = [word for word in words if len(word) == 1 and word.isascii()]
    return (
        _UNIT.fullmatch(rest) is not None
        and not _NO_UNITS.intersection(map(str.lower, words))
        and _LETTERS.issuperset(letters)
    )


def _last_number(text: str) -> Number | None:
    """The last number of the last line that has one, where it is no part of more."""
    line = next((line for line in reversed(text.splitlines()) if re.search(r"[0-9¼-¾]", line)), "")
    if found := _whole(line):
        return found
    line = plain(line[-_LONGEST_LINE:])
    if re.search("[0-9]", bare := _REMARK.sub(" ", line)):
        line = bare
    found = None
    for match in NUMBER.finditer(line):
        if not found or not line[: match.start()].rstrip().lower().endswith((" per", " each", " every")):
            found = match
    return value_of(found) if found and _stands_alone(line, found) else None


_IN_EXPRESSION = re.compile(
    r"(?:[*/^×÷·+–_{\[√≤≥≠≡±|]|\w\s*[<>]|[0-9]:|[0-9)]\s*-|\\(?!item)[A-Za-z]+\s?\{?"
    r"|(?:,|;|\bor\b|\band\b)\s*\$?\s*[A-Za-z]\s?=|(?:\b|\\)(?:log|ln|sin|cos|tan|sqrt|exp)(?:\s?_\s?\{?\s?\w+\s?\}?)?)$"
)
_IN_LIST = re.compile(r"(?:[0-9)]\s*,|[0-9)$%]\s+(?:or|and|to))$")
_OPERAND = re.compile(r"(?:[0-9)\]}%]|(?<![A-Za-z'’])[A-Za-z])$")


def _stands_alone(line: str, found: re.Match[str]) -> bool:
    """Whether a number in a line is no part of an expression, a list, a range or a name."""
    before, rest = line[: found.start()], line[found.end() :].rstrip(" .,;:!?$*\"'")
    left = before.rstrip(" $")
    if found["sign"] and (
        before[-1:].isalnum() or _OPERAND.search(left) or (left[-1:].isalpha() and " " in found["sign"])
    ):
        return False
    if (found["open"] and before[-1:].isalnum()) or _IN_EXPRESSION.search(left):
        return False
    if _IN_LIST.search(left) and not re.match(r"\s?[^\W\d_]{2}", rest):
        return False
    return _is_unit(rest, loose=True)
