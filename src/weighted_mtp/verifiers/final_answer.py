"""What of a completion counts: a model thinks aloud, and wraps its answer in what its template prescribes."""

from collections.abc import Mapping
from typing import Any

from weighted_mtp.data.fields import plain_content

THINKING = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("◁think▷", "◁/think▷"),
    ("<seed:think>", "</seed:think>"),
)
"""Where templates let a model think: Qwen3 and DeepSeek-R1, Magistral, Command A, Kimi, Seed-OSS."""
CHANNEL, FINAL = "<|channel|>", "<|channel|>final<|message|>"
"""Harmony (GPT-OSS) names the channel of each message; users see the final one."""
_ENDS = ("<|return|>", "<|end|>", "<|start|>", "<|call|>")
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
    text = text_of_completion(row.get("completion"))
    final = behind_thinking(text, row.get("prompt"))
    if final is None:
        return None
    start, end = ANSWER
    close = final.rfind(end)
    begin = final.rfind(start, 0, close) if close >= 0 else -1
    return final[begin + len(start) : close] if begin >= 0 else final


def text_of_completion(completion: Any) -> str:
    """A completion as text; of messages what the assistant said last."""
    if isinstance(completion, str):
        return completion
    said = [turn for turn in completion if is_assistant(turn)] if isinstance(completion, list) else []
    return plain_content(said[-1]) if said else ""


def is_assistant(turn: Any) -> bool:
    """Whether it is a message of the assistant."""
    return isinstance(turn, Mapping) and turn.get("role") == "assistant"


def behind_thinking(text: str, prompt: Any) -> str | None:
    """The text behind all thinking, None where the thinking does not end; a prompt may begin it, as templates do."""
    if CHANNEL in text:
        start = text.rfind(FINAL)
        if start < 0:
            return None
        final = text[start + len(FINAL) :]
        return final[: min((at for end in _ENDS if (at := final.find(end)) >= 0), default=len(final))]
    for begin, end in THINKING:
        begun = text.rfind(begin)
        if not begun >= 0 and isinstance(prompt, str) and prompt.rstrip().endswith(begin):
            begun = 0
        ended = text.rfind(end)
        if begun > ended:
            return None
        if ended >= 0:
            return text[ended + len(end) :]
    return text
