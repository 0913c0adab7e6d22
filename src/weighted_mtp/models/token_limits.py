"""What a model can read: token ids within its embedding, and rows within its positions. Asked before the first step."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch.nn as nn

from weighted_mtp.models.parts import HeadedModel

logger = logging.getLogger(__name__)


def require_readable(
    model: HeadedModel,
    tokenizer: Any,
    rows: Iterable[Sequence[int]],
    name_of: Callable[[int], str],
    *,
    further: int = 0,
) -> None:
    """Raises ValueError for the first token or row that the model cannot read; a device would only say "assert".

    A learned table of positions ends, so a longer row is refused. Rotary positions go on for ever: beyond
    `max_position_embeddings` a warning, since training there is how contexts are lengthened. The PAD of the tokenizer
    and the tags of a generative critic count too; `name_of` says what row i is called, `further` how many tokens will
    be generated behind each row."""
    ends = (model.hf_model.get_input_embeddings(), model.hf_model.get_output_embeddings())
    limit = min(end.weight.shape[0] for end in ends)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    _require_ids(tokenizer, [] if pad is None else [pad], limit, "the padding token")
    tags = (model.critic.tags if model.critic is not None else None) or {}
    for label, ids in tags.items():
        _require_ids(tokenizer, ids, limit, f"the label tag of {label} completions")
    tagged = max(map(len, tags.values()), default=0)
    longest, longest_row = 0, 0
    for i, ids in enumerate(rows):
        if len(ids) and max(ids) >= limit:
            _require_ids(tokenizer, ids, limit, name_of(i))
        if len(ids) > longest:
            longest, longest_row = len(ids), i
    _require_positions(model, longest + tagged, name_of(longest_row), tagged, further)


def _require_ids(tokenizer: Any, ids: Sequence[int], limit: int, what: str) -> None:
    beyond = next((token for token in ids if token >= limit), None)
    if beyond is not None:
        raise ValueError(
            f"{what}: token {beyond} ({tokenizer.convert_ids_to_tokens(beyond)!r}) is beyond the {limit} rows of the "
            f"model's embedding, and the tokenizer has {len(tokenizer)} tokens: resize the model "
            "(transformers: model.resize_token_embeddings(len(tokenizer))), or give the model's own tokenizer"
        )


def _require_positions(model: HeadedModel, length: int, what: str, tagged: int, further: int) -> None:
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if limit is None or length + further <= limit:
        return
    tokens = f"{length} tokens{' with its label tag' if tagged else ''}"
    if further:
        tokens += f" and {further} new ones"
        room = limit - length
        remedy = f"give max_new_tokens of at most {room}" if room > 0 else "shorten the prompt"
    else:
        remedy = f"cut rows with max_length: {limit - tagged}"
    if _learns_positions(model, limit):
        raise ValueError(
            f"{what}: {tokens} are more than the {limit} positions that the model has learned: {remedy}, or take a "
            "model of more positions"
        )
    logger.warning(
        "%s: %s are more than the %d positions that the model was made for (max_position_embeddings); its rotary "
        "positions go on, untrained. To stay within them %s",
        what, tokens, limit, remedy,
    )  # fmt: skip


def _learns_positions(model: HeadedModel, limit: int) -> bool:
    """Whether positions are rows of a table (OPT's has two more than positions)."""
    return any(
        isinstance(module, nn.Embedding) and "pos" in name.rsplit(".", 1)[-1] and module.num_embeddings <= limit + 2
        for name, module in model.hf_model.named_modules()
    )
