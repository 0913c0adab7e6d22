"""The forms that rows come in, and how each becomes a prompt and a completion: TRL's, chats, ShareGPT's, Alpaca's."""

import json
from collections.abc import Mapping
from typing import Any

from .fields import DataError, messages_of, plain_content, plain_value, short, text_of

TURNS = "completion_messages"
"""Column of a parsed row: the messages from the first turn that may be learned on, where that is more than a text."""

ALPACA_PROMPT = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the "
    "request.\n\n### Instruction:\n{instruction}\n\n### Response:\n"
)
ALPACA_PROMPT_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request."
    "\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)
"""Source: Taori et al. 2023, Stanford Alpaca, the prompts of its README."""

_CHATS = ("messages", "conversations")
SHAREGPT_ROLES = {
    "human": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant",
    "model": "assistant", "function_call": "assistant", "function_response": "tool", "observation": "tool",
}  # fmt: skip


def texts_of(raw: Mapping[str, Any]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The columns that a row's texts come from; its prompt and completion, `completion_messages` and `steps`."""
    has = {name for name, value in raw.items() if value is not None}
    if {"completions", "labels"} <= has and "completion" not in has:
        return ("prompt", "completions", "labels"), _stepwise(raw)
    answers = [name for name in (*_CHATS, "completion", "output") if name in has]
    if len(answers) > 1:
        raise DataError(
            f"has {' and '.join(f'`{name}`' for name in answers)}, each with what was written: keep one of them"
        )
    if not has & {*_CHATS, "instruction", "output"}:
        return ("prompt", "completion"), _prompt_and_completion(raw)
    for name in has.intersection(_CHATS):
        return (name, "prompt", "completion", "system"), _chat(name, raw)
    given = text_of(raw, "input") if "input" in has else ""
    template = ALPACA_PROMPT_WITH_INPUT if given else ALPACA_PROMPT
    prompt = template.format(instruction=_filled(raw, "instruction", "prompt"), input=given)
    row = {"prompt": prompt, "completion": _filled(raw, "output", "completion")}
    return ("instruction", "input", "output", "prompt", "completion"), row


def _chat(name: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    messages = messages_of(name, _from_sharegpt(raw[name]) if name == "conversations" else raw[name])
    if raw.get("system") is not None and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": text_of(raw, "system")})
    roles = [message["role"] for message in messages]
    others = [i for i, role in enumerate(roles) if role != "assistant"]
    askers = [i for i in others if roles[i] not in ("system", "developer")]
    asked = min(askers or others or [len(roles)])
    if "assistant" not in roles[asked:]:
        raise DataError(f"`{name}` must hold a prompt and, behind it, an assistant's message, which is learned")
    first = roles.index("assistant", asked)
    return {"prompt": messages[:first], **_answer(name, messages[first:])}


def _from_sharegpt(given: Any) -> Any:
    """Messages with `from` and `value` as messages with `role` and `content`; whatever else as it is."""
    given = plain_value(given)
    if not isinstance(given, list):
        return given
    return [_from_value(m) if isinstance(m, Mapping) and "role" not in m and "from" in m else m for m in given]


def _from_value(message: Mapping[str, Any]) -> dict[str, Any]:
    speaker, value = text_of(message, "from").lower(), text_of(message, "value")
    rest = {name: entry for name, entry in message.items() if name not in ("from", "value")}
    found = {"role": SHAREGPT_ROLES.get(speaker, speaker), "content": value, **rest}
    if speaker != "function_call":
        return found
    try:
        said = json.loads(value)
        calls = [
            {name: call[name] for name in ("name", "arguments")} for call in (said if type(said) is list else [said])
        ]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f"a `function_call` is {short(value)}: JSON with name and arguments is needed") from None
    return found | {"content": None, "tool_calls": [{"type": "function", "function": call} for call in calls]}


def _prompt_and_completion(raw: Mapping[str, Any]) -> dict[str, Any]:
    prompt, completion = plain_value(raw.get("prompt")), plain_value(raw.get("completion"))
    if not isinstance(prompt, list):
        text = text_of(raw, "prompt", without("prompt", raw))
        return {"prompt": text, "completion": _filled(raw, "completion", "completion")}
    messages = messages_of("prompt", prompt)
    name, turns = (TURNS, raw[TURNS]) if raw.get(TURNS) is not None else ("completion", completion)
    if not isinstance(plain_value(turns), list):
        return {"prompt": messages, "completion": _filled(raw, "completion", "completion")}
    return {"prompt": messages, **_answer(name, messages_of(name, turns))}


def _answer(name: str, turns: list[dict[str, Any]]) -> dict[str, Any]:
    """The last assistant's text, and the messages themselves where they are more than that text."""
    answers = [message for message in turns if message["role"] == "assistant"]
    if not answers:
        raise DataError(f"`{name}` ends with a message of role {short(turns[-1]['role'])}: the assistant's is learned")
    for message in answers:
        if not plain_content(message) and not message.get("tool_calls") and not message.get("reasoning_content"):
            raise DataError("`content` is empty")
    text, (message, *more) = plain_content(answers[-1]), turns
    if not more and message.keys() == {"role", "content"} and isinstance(message["content"], str):
        return {"completion": text}
    return {"completion": text, TURNS: turns}


def _stepwise(raw: Mapping[str, Any]) -> dict[str, Any]:
    """TRL's stepwise form (`PRMConfig.step_separator`): texts of steps and a label of each, a line break between
    them."""
    texts, labels = plain_value(raw["completions"]), plain_value(raw["labels"])
    if not isinstance(texts, list) or not isinstance(labels, list) or not texts or len(texts) != len(labels):
        raise DataError("`completions` and `labels` must be lists of one length: the text of each step and its label")
    completion, steps = "", []
    for text, label in zip(texts, labels, strict=True):
        text = text_of({"completions": text}, "completions")
        joined = completion and not completion[-1:].isspace() and not text[:1].isspace()
        completion += ("\n" if joined else "") + text
        steps.append({"end": len(completion), "label": label})
    return _prompt_and_completion({**raw, "completion": completion}) | {"steps": steps}


def _filled(raw: Mapping[str, Any], name: str, role: str) -> str:
    text = text_of(raw, name, without(role, raw))
    if not text:
        raise DataError(f"`{name}` is empty")
    return text


_NEEDED = (
    "a row needs prompt, completion and label or reward (or instruction, output and is_correct; or messages and label)"
)
# Columns of the forms that other tools read, and how they become ours.
_OTHER_FORMS = {
    "conversation": "`conversation` is named `messages`, with role and content",
    "dialogue": "`dialogue` is named `messages`, with role and content",
    "chosen": "chosen and rejected become two rows, completion = chosen with label true, rejected with false",
    "completions": "`completions` (steps) need `labels`, one of each",
    "text": "`text` is split into `prompt` and `completion`, since only the latter is learned",
}
_OTHER_NAMES = {
    "prompt": ("question", "query", "problem", "input", "instruction", "task", "context"),
    "completion": ("response", "output", "generation", "answer", "solution", "target", "text"),
    "label": ("score", "correct", "passed", "is_right", "success", "labels", "acc"),
}


def without(name: str, raw: Mapping[str, Any]) -> str:
    """The reason for a row without one of prompt, completion and label: the columns it has, and the nearest form.

    Examples:
        >>> print(without("completion", {"prompt": "p", "response": "r", "label": 1}))
        no `completion` among prompt, response, label: rename `response` to `completion`
        >>> print(without("prompt", {"Prompt": "p", "completion": "c"}))
        no `prompt` among Prompt, completion: rename `Prompt` to `prompt`
    """
    there = [str(column) for column in raw if raw[column] is not None]
    among = f" among {', '.join(there[:12])}{', ...' * (len(there) > 12)}" if there else ""
    return f"no `{name}`{among}: {_remedy(name, there)}"


def _remedy(name: str, there: list[str]) -> str:
    spelled = next((other for other in there if other.strip().lower() == name), None)
    if spelled is not None:
        return f"rename `{spelled}` to `{name}`"
    if name == "label" and "verdict" in there:
        return (
            "`wmtp data verify` writes it beside `verdict`: true for pass, null for error, else false; "
            "to learn `reward` without it, every row needs a reward"
        )
    form = next((form for form in _OTHER_FORMS if form in there), None)
    if name != "label" and form is not None:
        return _OTHER_FORMS[form]
    near = next((other for other in _OTHER_NAMES[name] if other in there), None)
    if near in ("score", "acc"):
        return f"rename `{near}` to `reward`, or write `label`: true where it is at least what you call right"
    if near is not None:
        return f"rename `{near}` to `{name}`"
    return _NEEDED + "; `wmtp data verify` judges completions and writes it" * (name == "label")
