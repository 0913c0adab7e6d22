"""The model that is asked, and its tokenizer, once it is known that it can read every prompt."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from weighted_mtp.data import DataError
from weighted_mtp.evaluation.decoding import Prompt, prompt_tokens, require_template, user_turn
from weighted_mtp.models import MTPModel, load_tokenizer
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.loading import NOTHING, InMemory

HINT = (
    "hint: this model's tokenizer has a chat template, and prompts that are text are read as they are; --chat true "
    "asks as a user does"
)


def prompt_of(problem: Mapping[str, Any], chat: bool) -> Prompt:
    """What the model is asked with: with `chat` a text is what a user says."""
    prompt = problem["prompt"]
    return user_turn(prompt) if chat and isinstance(prompt, str) else prompt


def load_asked(
    config: Any,
    problems: Mapping[int, Mapping[str, Any]],
    tell: Callable[[str], None],
    *,
    continues: bool = False,
    memory: InMemory = NOTHING,
) -> tuple[MTPModel, Any]:
    """Model and tokenizer, on the accelerator if there is one, for a `config` with `model`, `problems` (a file's name),
    `chat` and `max_new_tokens`.

    `tell` takes a line where text prompts, unless they are to be gone on with (`continues`), go to a model that is
    asked in chats. ConfigError: no chat template where a chat is wanted, or too few positions for a prompt; DataError:
    a prompt that cannot be read, with its problem's number."""
    name = str(config.model)
    tokenizer = tokenizer_of(config, problems, tell, continues=continues, memory=memory)
    model = name if memory.model is None else memory.model
    if not isinstance(model, MTPModel):
        model = MTPModel.from_pretrained(model)
    longest, of = 0, 0
    for i, problem in problems.items():
        try:
            tokens = prompt_tokens(tokenizer, [prompt_of(problem, config.chat)], [problem.get("tools")])[0]
        except DataError as error:
            raise DataError(f"{config.problems}: problem {i}: {error}") from None
        longest, of = max((longest, of), (len(tokens), i), key=lambda found: found[0])
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None and longest + config.max_new_tokens > positions:
        raise ConfigError(
            f"max_new_tokens is {config.max_new_tokens}: the longest prompt, of problem {of}, has {longest} tokens and "
            f"the model {positions} positions, so give at most {max(0, positions - longest)}"
        )
    model.to(torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu")
    return model, tokenizer


def tokenizer_of(
    config: Any,
    problems: Mapping[int, Mapping[str, Any]],
    tell: Callable[[str], None],
    *,
    continues: bool = False,
    memory: InMemory = NOTHING,
) -> Any:
    """The tokenizer of `load_asked`, with a line where a chat model is asked in text; ConfigError as there."""
    tokenizer = load_tokenizer(str(config.model)) if memory.tokenizer is None else memory.tokenizer
    if config.chat:
        require_template(tokenizer, "chat is true", str(config.model))
    elif tokenizer.chat_template and not continues and any(isinstance(row["prompt"], str) for row in problems.values()):
        tell(HINT)
    return tokenizer


def silent(line: str) -> None:
    """Tells nobody, as a worker whose engine has told already."""
