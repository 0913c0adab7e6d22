r"""One number as people and models write it: decimals, fractions, powers of ten, LaTeX, currencies and units."""

import re
import unicodedata
from fractions import Fraction
from typing import NamedTuple

_LONGEST = 1_000  # characters of a text that is to be one number
_LARGEST_EXPONENT = 1_000  # 1e999999999 is not worth computing
_SCALES = {"hundred": 2, "thousand": 3, "k": 3, "million": 6, "billion": 9, "trillion": 12}


class Number(NamedTuple):
    """A number as it was written."""

    value: Fraction
    decimal: bool
    """Whether it has a decimal point or an exponent, and so may be rounded."""
    percent: bool = False
    """Whether a percent sign or word follows: the value is 50 for 50%."""


# Possessive quantifiers (++, {1,300}+) never give back what they took, which keeps the search linear.
_GROUPS = "|".join(
    rf"[1-9][0-9]{{0,2}}(?:{separator}[0-9]{{3}}){{1,300}}+(?![0-9])" for separator in (",", "[ ']", "_")
)
_EUROPEAN = r"[1-9][0-9]{0,2}(?:\.[0-9]{3}){1,300}+,[0-9]++|[1-9][0-9]{0,2}(?:\.[0-9]{3}){2,300}+(?![0-9])"
_DECIMAL = rf"(?:{_EUROPEAN}|(?:{_GROUPS}|[0-9]++)(?:\.[0-9]++)?|\.[0-9]++)"
_PART = rf"\(?\s?[-+]?\s?{_DECIMAL}\s?\)?"
_EXPONENT = r"\s?(?:\^|\*\*)\s?(?:\{\s?)?"
NUMBER = re.compile(
    rf"""
    (?P<sign>[-+]\s?)? (?P<open>\(\s?)?
    (?:(?:US|HK|NZ|CA|AU|[AC]|USD|EUR|Rs\.?)?\s?[$€£¥₩₹]\s?|(?:USD|EUR|GBP|Rs\.?)\s)? (?P<inner_sign>[-+]\s?)?
    (?<![0-9A-Za-z_^])(?<!\^\{{)(?<![0-9A-Za-z]\.)
    (?:
        (?:(?P<whole>[0-9]++)\s++(?=\(?\s?[0-9]))? (?P<over>{_PART})\s?/\s?(?P<under>{_PART})
    |   (?P<base>[0-9]++){_EXPONENT}(?P<power>-?[0-9]++)(?:\s?\}})?
    |   (?P<decimal>{_DECIMAL}) (?:[eE](?P<exponent>[-+]?[0-9]++))?
        (?:\s?[×·*x]\s?10{_EXPONENT}(?P<ten>[-+]?[0-9]++)(?:\s?\}})?)?
    )
    (?(open)\s?\)|)(?!\s?/\s?[0-9(])
    (?:\s?(?P<percent>%|per\s?cent\b|percentage\spoints?\b))?
    (?:\s?(?P<scale>k\b|(?:hundred|thousand|million|billion|trillion)\b))?
    """,
    re.VERBOSE | re.IGNORECASE,
)

_WRAPPERS = re.compile(
    r"\\(?:text(?:bf|it|rm|normal)?|math(?:rm|bf|it|sf|tt|bb)?|mbox|hbox|fbox|boxed|operatorname|emph|underline|textcolor"
    r"|bold|boldsymbol|bm|overline)\s?\{([^{}\\]*)\}"
)
_FRACTION = re.compile(r"\\(?:[dtcs]|nice)?frac\s?(?:\{([^{}]*)\}|([0-9]))\s?(?:\{([^{}]*)\}|([0-9]))")
_OVER = re.compile(r"\{([^{}\\]*)\\over(?![a-z])([^{}\\]*)\}")
_REPEATING = re.compile(r"(?<![0-9,.])([0-9]{0,20})\.([0-9]{0,20})\\overline\s?\{\s?([0-9]{1,20})\s?\}")
_REPLACED = (
    (re.compile(r",\s?\\!\s?|\s?\{,\s?\}\s?"), ","),
    (
        re.compile(
            r"\\!|\\(?:left|right|[bB]igg?[lr]?|displaystyle|[lL]arge|LARGE|[hH]uge|textstyle|limits|phantom\{\})(?![a-z])"
        ),
        "",
    ),
    (re.compile(r"\\[\[\]()]|\\[,;: ]|~|\\q?quad(?![a-z])|\\\\(?=\s|$)"), " "),
    (re.compile(r"\\([$%#&])"), r"\1"),
    (re.compile(r"\^?\s?\{?\s?\\(?:circ|degree)(?![a-z])\s?\}?"), "°"),
    (re.compile(r"\\(?:times|cdot|ast)(?![a-z])"), "×"),
    (re.compile(r"\\(?:approx|simeq|sim)(?![a-z])"), "≈"),
    (re.compile(r"\\(?:implies|Rightarrow|rightarrow|to)(?![a-z])"), "⇒"),
)
_VULGAR = re.compile("[¼-¾⅐-⅞]")
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+")
_RAISED_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_APOSTROPHE = re.compile("(?<=[0-9])’(?=[0-9]{3})")
_DASH = re.compile(r"(?<![\w)\]}%])[‐-–](?=[0-9.$€£\\(])")
_WORD_SIGN = re.compile(r"(?<![0-9] )\b(?:minus|negative)\s(?=[0-9.$(\\])", re.IGNORECASE)
_SPACE = re.compile(r"\s{2,}|[\t\n\r]")
_MARKUP = re.compile(r"(?<![\w)*])\*{1,3}(?=[\w$\\\-(])|(?<=[\w$%).!?:])\*{1,3}(?=[\s.,;:!?]|$)|`|(?<!\w)__|__(?!\w)")


def plain(text: str) -> str:
    r"""A text without LaTeX's dress, markup, and Unicode's variants of what ASCII has; white space is one space.

    Examples:
        >>> plain(r"**x = -\left(\tfrac{1}{2}\right)** \text{cm}^2"), plain("–1½")
        ('x = -( (1)/(2)) cm ^2', '-1 1/2')
    """
    if not text.isascii():
        text = _RAISED.sub(lambda found: "^" + found[0].translate(_RAISED_DIGITS), text)
        text = _VULGAR.sub(lambda found: " " + unicodedata.normalize("NFKC", found[0]), text)
        text = unicodedata.normalize("NFKC", text).replace("⁄", "/").replace("−", "-")
        text = _DASH.sub("-", _APOSTROPHE.sub("'", text))
    if "\\" in text or "{" in text or "~" in text:
        text = _REPEATING.sub(_repeating, text)
        for pattern, meant in _REPLACED:
            text = pattern.sub(meant, text)
        for _ in range(3):  # nested as often as people nest
            text = _WRAPPERS.sub(r" \1 ", text)
        text = _OVER.sub(r" (\1)/(\2)", _FRACTION.sub(r" (\1\2)/(\3\4)", text))
    if "*" in text or "_" in text or "`" in text:
        text = _MARKUP.sub("", text)
    return _WORD_SIGN.sub("-", _SPACE.sub(" ", text))


def _repeating(found: re.Match[str]) -> str:
    """As a fraction: the digits that repeat, over as many nines."""
    before, digits, repeated = found.groups()
    over = int(before + digits + repeated) - int(before + digits or 0)
    return f" ({over})/({10 ** len(digits) * (10 ** len(repeated) - 1)})"


def value_of(found: re.Match[str]) -> Number | None:
    """The value of what `NUMBER` found; None where it has none or is too large."""
    if len(found[0]) >= _LONGEST or (found["open"] and "," in (found["decimal"] or "")):  # (100,101) is a pair
        return None
    number = _unsigned(found)
    scale = _SCALES[found["scale"].lower()] if number and found["scale"] else 0
    if number is None:
        return None
    negative = ((found["sign"] or "").strip() == "-") != ((found["inner_sign"] or "").strip() == "-")
    value = number.value * (-1 if negative else 1) * 10**scale
    return Number(value, number.decimal, found["percent"] is not None)


def _unsigned(found: re.Match[str]) -> Number | None:
    if found["over"] is not None:
        over, under = (_fraction(found[name]) for name in ("over", "under"))
        if not under:
            return None
        return Number(int(found["whole"] or 0) + over / under, decimal="." in found["over"] + found["under"])
    if found["base"] is not None:
        power = _exponent(found["power"])
        if power is None or len(found["base"]) > 10 or (power < 0 and not int(found["base"])):
            return None
        return Number(Fraction(int(found["base"])) ** power, decimal=False)
    exponents = [_exponent(found[name]) for name in ("exponent", "ten")]
    if None in exponents:
        return None
    value = _fraction(found["decimal"]) * Fraction(10) ** sum(filter(None, exponents))
    return Number(value, decimal="." in found["decimal"] or bool(found["exponent"] or found["ten"]))


def _fraction(digits: str) -> Fraction:
    """The value of digits with separators, in parentheses or not."""
    digits = re.sub(r"[()\s_']", "", digits)
    if re.search(r"\..*[.,]", digits):  # 1.234,56
        return Fraction(digits.replace(".", "").replace(",", "."))
    return Fraction(digits.replace(",", ""))


def _exponent(text: str | None) -> int | None:
    """0 where none is written, None where it is too large."""
    if text is None:
        return 0
    return int(text) if len(text) <= 5 and abs(int(text)) <= _LARGEST_EXPONENT else None
