"""What of a completion counts: a model thinks aloud, and wraps its answer in what its template prescribes."""

import re
from collections.abc import Mapping
from typing import Any

THINKING = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("◁think▷", "◁/think▷"),
    ("<seed:think>", "</seed:think>"),
    ("<|channel>thought", "<channel|>"),
    ("<thought>", "</thought>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
)
"""Where templates let a model think: Qwen3 and DeepSeek-R1, Magistral, Command A, Kimi, Seed-OSS, Gemma 4, EXAONE,
OpenThoughts, and Harmony (GPT-OSS), which names the channel of each message; users see the final one."""
_FINAL = re.compile(r"<\|channel\|>final\s?(?:<\|constrain\|>\w{0,20})?<\|message\|>")
_ENDS = re.compile(r"<\|(?:return|end|start|call)\|>")
_CHANNEL = "<|channel|>"
ANSWER = ("<answer>", "</answer>")


def counted(row: Mapping[str, Any]) -> str | None:
    """The part of a row's completion that a verdict is given on; None where there is none.

    It is what stands behind the last end of thinking, or in the last final channel; where a `<answer>` is closed in
    that, the text of the last one. Thinking that the completion, or the end of a text prompt, begins and nothing ends
    has no answer. Of messages the assistant's last turn counts.

    Examples:
        >>> counted({"completion": "<think>41?</think>It is 42."}), counted({"completion": "<think>41? 42!"})
        ('It is 42.', None)
        >>> counted({"completion": [{"role": "assistant", "content": "So: <answer> 42 </answer>."}]})
        ' 42 '
    """
    final = behind_thinking(text_of_completion(row.get("completion")), row.get("prompt"))
    if final is None:
        return None
    begin, end = ANSWER
    begun = final.rfind(begin, 0, max(final.rfind(end), 0))
    return final[begun + len(begin) : final.find(end, begun)] if begun >= 0 else final


def text_of_completion(completion: Any) -> str:
    """A completion as text; of messages what the assistant said last, and nothing where that is no text."""
    if isinstance(completion, str):
        return completion
    said = [turn for turn in completion if is_assistant(turn)] if isinstance(completion, list) else []
    content = said[-1].get("content") if said else None
    parts = content if isinstance(content, list) else [{"text": content}]
    texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
    return "".join(text for text in texts if isinstance(text, str))


def is_assistant(turn: Any) -> bool:
    """Whether it is a message of the assistant."""
    return isinstance(turn, Mapping) and turn.get("role") == "assistant"


def behind_thinking(text: str, prompt: Any) -> str | None:
    """The text behind all thinking, None where the thinking does not end; a prompt may begin it, as templates do."""
    opened = prompt.rstrip() if isinstance(prompt, str) else ""
    if _CHANNEL in text or opened.endswith(THINKING[-1][0]):
        finals = list(_FINAL.finditer(text))
        return _ENDS.split(text[finals[-1].end() :], maxsplit=1)[0] if finals else None
    for begin, end in THINKING[:-1]:
        begun, ended = text.rfind(begin), text.rfind(end)
        if begun > ended or (ended < 0 and opened.endswith(begin)):
            return None
        if ended >= 0:
            text = text[ended + len(end) :]
    return text
