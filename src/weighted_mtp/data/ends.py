"""The tokens that end a text: those with which training ends completions, for whoever generates."""

from collections.abc import Sequence
from typing import Any

from .chat import turn_end


def end_tokens(tokenizer: Any, named: int | Sequence[int] | None = None) -> list[int]:
    """Token ids behind which nothing is generated.

    They are the tokenizer's EOS; the token with which its chat template ends a turn, where that is one (Gemma's
    `<end_of_turn>`); and of those that a model names already the ones that are no text in this tokenizer: an id that
    was another vocabulary's end may be a word here.

    Args:
        tokenizer: that training used.
        named: `eos_token_id` of a generation_config.json.

    Returns:
        EOS first, each once; where the tokenizer knows no end, those that the model names.
    """
    several = [named] if isinstance(named, int) else list(named or [])
    known = known_tokens(tokenizer)
    ends = [tokenizer.eos_token_id, _turn_end_token(tokenizer), *(n for n in several if n in known)]
    return list(dict.fromkeys(token for token in ends if token is not None)) or several


def known_tokens(tokenizer: Any) -> set[int]:
    """Ids that were added to the vocabulary as wholes, special tokens among them: none of them is a piece of text."""
    return {*tokenizer.all_special_ids, *getattr(tokenizer, "added_tokens_decoder", ())}


def padding_token(tokenizer: Any) -> int | None:
    """The tokenizer's own, else its end token, which attention masks hide."""
    return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id


def _turn_end_token(tokenizer: Any) -> int | None:
    """The longest added token that the text of the template's end of turn begins with."""
    end = turn_end(tokenizer)
    added = {number: str(token) for number, token in getattr(tokenizer, "added_tokens_decoder", {}).items()}
    found = [number for number, token in added.items() if token and end.startswith(token)]
    return max(found, key=lambda number: len(added[number]), default=None)
