"""`wmtp generate`: one completion of a text or of a chat."""

from collections.abc import Callable
from typing import Any

from weighted_mtp.data.chat import check_roles
from weighted_mtp.evaluation.decoding import Prompt, decode
from weighted_mtp.models import MTPModel, load_tokenizer
from weighted_mtp.training.settings import ConfigError


def user_turn(text: str) -> list[dict[str, Any]]:
    """A text as what a user says."""
    return [{"role": "user", "content": text}]


def require_template(tokenizer: Any, setting: str, model: str) -> None:
    """Raises ConfigError where a chat is wanted and the tokenizer cannot write one."""
    if not tokenizer.chat_template:
        raise ConfigError(
            f"{setting}: the tokenizer of {model} has no chat template, so it takes prompts as plain text"
        )


def generate_text(
    model_dir: str,
    prompt: Prompt,
    max_new_tokens: int,
    temperature: float,
    label: str | None = None,
    tools: Any = None,
    tell: Callable[[str], None] = lambda line: None,
) -> str:
    """One completion by head 0.

    Args:
        model_dir: a model, with its tokenizer.
        prompt: text, read as it is, or messages.
        max_new_tokens: tokens at most.
        temperature: 0 is greedy.
        label: what a generative critic is told.
        tools: for the chat template.
        tell: takes a line for whoever asked.

    Raises:
        ConfigError: a label or a chat that the model does not take.
        DataError: messages that its chat template refuses.
    """
    tokenizer = load_tokenizer(model_dir)
    if not isinstance(prompt, str):
        require_template(tokenizer, "a chat", model_dir)
        check_roles(prompt, tokenizer.chat_template)
    elif tokenizer.chat_template:
        tell(
            "hint: this model's tokenizer has a chat template, and --prompt was read as plain text; --chat asks as a "
            "user does, --messages FILE with a whole chat"
        )
    model = MTPModel.from_pretrained(model_dir)
    if label is not None and model.label_condition is None:
        raise ConfigError(f"--label {label}: {model_dir} is no generative critic, so it takes no label")
    return decode(
        model,
        tokenizer,
        [prompt],
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        condition=label,
        tools=[tools],
    )[0]
