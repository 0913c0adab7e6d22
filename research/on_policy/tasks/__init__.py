"""The three tasks by name, and their one tokenizer."""

from typing import Any

from research.on_policy.tasks.arithmetic import ARITHMETIC
from research.on_policy.tasks.boxes import STATES
from research.on_policy.tasks.strings import STRINGS

TASKS = {task.name: task for task in (ARITHMETIC, STRINGS, STATES)}
ALPHABET = "".join(sorted({character for task in TASKS.values() for character in task.alphabet}))


def character_tokenizer() -> Any:
    """A token for each character of the tasks, `<eos>` and `<pad>`."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.decoders import Fuse
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    tokens = {token: i for i, token in enumerate([*ALPHABET, "<eos>", "<pad>"])}
    tokenizer: Any = Tokenizer(WordLevel(tokens))  # pyright: ignore[reportCallIssue]
    tokenizer.pre_tokenizer = Split(Regex("."), "isolated")
    tokenizer.decoder = Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")
