"""Single fields of a row: what type they must have, and what is said where they have another."""

from collections.abc import Mapping
from typing import Any


class DataError(ValueError):
    """What is wrong with the data, and where: the user's to mend, so no traceback is needed."""


def short(value: Any) -> str:
    """A value for a message, cut at 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def plain_value(value: Any) -> Any:
    """A Python value for one of numpy, Arrow or torch; arrays become lists, others stay.

    Examples:
        >>> import numpy
        >>> plain_value(numpy.float32(1)), plain_value(numpy.array([1, 2]))
        (1.0, [1, 2])
    """
    for method in ("as_py", "tolist"):  # of Arrow's scalars; of numpy's scalars and arrays, and of tensors
        if hasattr(value, method):
            return getattr(value, method)()
    return list(value) if isinstance(value, tuple) else value


def text_of(raw: Mapping[str, Any], name: str, absent: str = "") -> str:
    """A field that must be text; `absent` is what is said where it is not there.

    Raises:
        DataError: no such field, no text, or characters that have no UTF-8.
    """
    text = plain_value(raw.get(name))
    if text is None:
        raise DataError(absent or f"no `{name}`")
    if not isinstance(text, str):
        raise DataError(f"`{name}` is {short(text)}: text is needed")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"`{name}` holds half a surrogate pair, which is no character") from None
    return text


def bool_of(name: str, value: Any) -> bool:
    """A field that must be true or false, or a number or word for it.

    Raises:
        DataError: anything else.
    """
    value = plain_value(value)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    hint = ""
    if isinstance(value, float) and 0 < value < 1:
        hint = "; of a score, write true from the threshold on that you call right"
    raise DataError(f"`{name}` is {short(value)}: true, false, 0 or 1 is needed{hint}")


def list_of(name: str, value: Any) -> list[Any]:
    """A field that must be a list."""
    value = plain_value(value)
    if not isinstance(value, list):
        raise DataError(f"`{name}` is {short(value)}: a list with one entry for each token is needed")
    return value


def bools_of(name: str, value: Any) -> list[bool]:
    """A list of bools."""
    return [bool_of(name, entry) for entry in list_of(name, value)]


FLOAT32_MAX = 3.4028234663852886e38


def numbers_of(name: str, value: Any) -> list[float]:
    """A list of numbers that are finite in float32, which training reads them in; those of `weights` not negative."""
    entries = [plain_value(entry) for entry in list_of(name, value)]
    for entry in entries:
        # a JSON integer may be too large for a float, and then isfinite raises
        number = isinstance(entry, float) or (type(entry) is int and abs(entry) < 2**64)
        if not number or not abs(entry) <= FLOAT32_MAX:
            raise DataError(f"`{name}` holds {short(entry)}: finite numbers are needed (in float32)")
        if name == "weights" and entry < 0:
            raise DataError(f"`weights` holds {entry}: a weight must not be negative")
    return [float(entry) for entry in entries]


def span_of(value: Any, completion: str) -> list[int]:
    """[start, end] in characters of the completion."""
    value = plain_value(value)
    whole = isinstance(value, list) and len(value) == 2
    if not whole or not all(isinstance(v, int) and not isinstance(v, bool) for v in value):
        raise DataError(f"`span` is {short(value)}: [start, end] in characters is needed")
    if not 0 <= value[0] <= value[1] <= len(completion):
        raise DataError(f"`span` is {value}: outside the completion's {len(completion)} characters")
    return value
