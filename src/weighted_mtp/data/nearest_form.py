"""What to tell somebody whose rows have other columns: the ones that are there, and the nearest form that is read."""

from collections.abc import Mapping
from typing import Any

NEEDED = "a row needs prompt, completion and label (or instruction, output and is_correct; or messages and label)"

# Columns of the forms that other tools read, and how they become ours.
_OTHER_FORMS = {
    "conversations": "ShareGPT's `conversations` become `messages`, with role (user, assistant) and content",
    "conversation": "`conversation` is named `messages`, with role and content",
    "dialogue": "`dialogue` is named `messages`, with role and content",
    "chosen": "chosen and rejected become two rows, completion = chosen with label true, rejected with false",
    "completions": "`completions` with `labels` (steps) become one `completion`, joined, with one `label` of the whole",
    "text": "`text` is split into `prompt` and `completion`, since only the latter is learned",
}
_OTHER_NAMES = {
    "prompt": ("question", "query", "problem", "input", "instruction", "task", "context"),
    "completion": ("response", "output", "generation", "answer", "solution", "target", "text"),
    "label": ("reward", "score", "correct", "passed", "is_right", "success", "labels", "acc"),
}


def without(name: str, raw: Mapping[str, Any]) -> str:
    """The reason for a row without one of prompt, completion and label.

    Examples:
        >>> print(without("completion", {"prompt": "p", "response": "r", "label": 1}))
        no `completion` among prompt, response, label: rename `response` to `completion`
        >>> print(without("prompt", {"Prompt": "p", "completion": "c"}))
        no `prompt` among Prompt, completion: rename `Prompt` to `prompt`
        >>> print(without("label", {"prompt": "p", "completion": "c"}))  # doctest: +ELLIPSIS
        no `label` among prompt, completion: a row needs prompt, completion and label ...
    """
    there = [str(column) for column in raw if raw[column] is not None]
    found = f"no `{name}` among {', '.join(there[:12])}{', ...' * (len(there) > 12)}" if there else f"no `{name}`"
    return f"{found}: {_remedy(name, there)}"


def _remedy(name: str, there: list[str]) -> str:
    spelled = next((other for other in there if other.strip().lower() == name), None)
    if spelled is not None:
        return f"rename `{spelled}` to `{name}`"
    if name == "label" and "verdict" in there:
        return "`wmtp data verify` writes it beside `verdict`: true for pass, null for error, else false"
    if name != "label":
        for form, remedy in _OTHER_FORMS.items():
            if form in there:
                return remedy
    near = next((other for other in _OTHER_NAMES[name] if other in there), None)
    if near is None:
        return NEEDED
    if near in ("reward", "score", "acc"):
        return f"write `label`: true where `{near}` is at least what you call right, false below"
    return f"rename `{near}` to `{name}`"
