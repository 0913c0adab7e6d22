"""What a model writes behind many prompts: equal prompts are read once, and rows that have ended leave the batch."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from weighted_mtp.evaluation.sampling import Guidance, SeededDraws, StopStrings
from weighted_mtp.models import MTPModel
from weighted_mtp.models.draft_counts import DraftCounts
from weighted_mtp.models.label_condition import RIGHT, WRONG

PLAIN = {"do_sample": False, "num_beams": 1, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_length": 0}
"""What a model's generation_config.json must not change; `SeededDraws` does the sampling."""
_STRETCH = 16
"""Tokens between two looks at which rows have ended."""


def write_tokens(
    model: MTPModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    pad: int,
    ends: Sequence[int],
    draws: SeededDraws | None = None,
    stop: StopStrings | None = None,
    condition: str | None = None,
    guidance: float = 0.0,
    drafts: list[DraftCounts] | None = None,
) -> list[list[int]]:
    """What the decoder's own `generate` writes behind each prompt, up to and with an end token, in order.

    Of equal prompts one is read, and its keys and values are copied; every 16 tokens, rows that have ended leave the
    batch with theirs. Numbers differ from those of one call of `generate` by rounding.

    `pad` fills shorter prompts on the left; `ends` end a row; `draws` has a row of random numbers for each prompt, with
    guidance twice (None: greedy); `guidance` leads from what would be written under the other label than `condition`
    (`Guidance`); with `drafts` the extra heads guess ahead, and what came of it for each prompt is put in there.
    """
    asked, told = len(prompts), None
    if guidance:
        if condition not in ("right", "wrong"):
            raise ValueError(
                f"guidance leads away from a label, but condition is {condition!r}: give 'right' or 'wrong'"
            )
        labels = (RIGHT, WRONG) if condition == "right" else (WRONG, RIGHT)
        prompts, told = [*prompts, *prompts], torch.tensor(labels, device=model.device).repeat_interleave(asked)
    width = max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(row)) + list(row) for row in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts], device=model.device)
    settings: dict[str, Any] = {
        "pad_token_id": pad,
        "eos_token_id": list(ends) or None,
        "condition": condition if told is None else told,
        "return_dict_in_generate": True,
        "logits_processor": [Guidance(guidance)] * (told is not None) + [draws] * (draws is not None) or None,
        "stopping_criteria": [stop] if stop else None,
        **PLAIN,
    }
    if drafts is not None:
        settings |= {"max_new_tokens": max_new_tokens, "drafts": True}
        output = model.generate(input_ids=ids, attention_mask=mask, **settings)
        drafts += output.drafts
        rows = output.sequences[:, width:].tolist()
        return [_until(ends, row[: count.tokens]) for row, count in zip(rows, output.drafts, strict=True)]
    cache = _read_once(model, prompts, ids, mask, settings) if told is None else None
    alive, written = list(range(len(prompts))), [list[int]() for _ in prompts]
    while alive:
        left = max_new_tokens - (ids.shape[1] - width)
        output = model.generate(
            input_ids=ids, attention_mask=mask, past_key_values=cache, max_new_tokens=min(_STRETCH, left), **settings
        )
        ids, cache = output.sequences, output.past_key_values
        mask = torch.cat([mask, mask.new_ones(len(mask), ids.shape[1] - mask.shape[1])], dim=1)
        for row, tokens in zip(alive, ids[:, width:].tolist(), strict=True):
            written[row] = _until(ends, tokens)
        if left <= _STRETCH:
            break
        stopped = stop.hold([prompts[row] for row in alive], [written[row] for row in alive]) if stop else []
        over = {row for row in alive if written[row][-1] in ends} | set(itertools.compress(alive, stopped))
        keep = [place for place, row in enumerate(alive) if row not in over]
        if over and keep:
            chosen = torch.tensor(keep, device=ids.device)
            ids, mask = ids[chosen], mask[chosen]
            if told is not None:
                settings["condition"] = settings["condition"][chosen]
            cache.reorder_cache(chosen)
            if draws:
                draws.keep(keep)
        alive = [alive[place] for place in keep]
    return written[:asked]


def _until(ends: Sequence[int], tokens: list[int]) -> list[int]:
    return tokens[: next((i for i, token in enumerate(tokens, start=1) if token in ends), None)]


def _read_once(
    model: MTPModel, prompts: Sequence[Sequence[int]], ids: Tensor, mask: Tensor, settings: dict[str, Any]
) -> Any:
    """Keys and values of all tokens but the last of each prompt, read once where several are equal; None: none are."""
    first = {tuple(prompt): row for row, prompt in reversed(list(enumerate(prompts)))}
    if len(first) == len(prompts) or min(map(len, prompts)) < 2:
        return None
    rows = sorted(first.values())
    chosen = torch.tensor(rows, device=ids.device)
    plain = settings | {"logits_processor": None, "stopping_criteria": None, "max_new_tokens": 1}
    read = model.generate(input_ids=ids[chosen, :-1], attention_mask=mask[chosen, :-1], **plain)
    place = {row: i for i, row in enumerate(rows)}
    read.past_key_values.reorder_cache(
        torch.tensor([place[first[tuple(prompt)]] for prompt in prompts], device=ids.device)
    )
    return read.past_key_values
