"""Decoding in batches by head 0, greedy or sampled, and the share of completions that a verifier accepts."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from weighted_mtp.data.encoding import RowEncoder
from weighted_mtp.evaluation.sampling import SeededDraws, StopStrings, cut_at_stop, plain_texts
from weighted_mtp.models import MTPModel

Prompt = str | list[dict[str, Any]]
"""Text, or messages for the tokenizer's chat template."""
PLAIN = {
    "do_sample": False,
    "num_beams": 1,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "min_length": 0,
}
"""What a model's generation_config.json must not change; `SeededDraws` does the sampling."""


@dataclass(frozen=True)
class Completion:
    """What a model wrote, and why it stopped."""

    text: str
    """Without special tokens, and without a stop string and all behind it."""
    ended: Literal["eos", "stop", "length"]
    """End of text, a stop string, or cut off at the most tokens."""


def decode(
    model: MTPModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int,
    batch_size: int = 256,
    temperature: float = 0.0,
    condition: str | None = None,
) -> list[str]:
    """Completions by head 0, one a prompt, special tokens left out.

    Args:
        model: left in the mode (training or evaluation) it came in.
        tokenizer: of the model.
        prompts: texts or messages.
        max_new_tokens: tokens at most, end of text included.
        batch_size: prompts decoded together.
        temperature: 0 is greedy, above it samples from softmax(logits / temperature), seeded by torch.
        condition: "right" or "wrong": the label that a generative critic decodes under.
    """
    seeds = torch.randint(2**63 - 1, (len(prompts), 1)).tolist() if temperature > 0 else None
    completions: list[Completion] = []
    for start in range(0, len(prompts), batch_size):
        chosen = slice(start, start + batch_size)
        completions += complete(
            model,
            tokenizer,
            prompts[chosen],
            max_new_tokens=max_new_tokens,
            seeds=seeds and seeds[chosen],
            temperature=temperature,
            condition=condition,
        )
    return [completion.text for completion in completions]


@torch.no_grad()
def complete(
    model: MTPModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int,
    seeds: Sequence[Sequence[int]] | None = None,
    temperature: float = 0.0,
    top_p: float = 1.0,
    stop: Sequence[str] = (),
    condition: str | None = None,
) -> list[Completion]:
    """One completion for each prompt of one batch, by head 0.

    Prompts become tokens as in training (`tokenize_rows`): special tokens around a text, a chat template around
    messages. A completion is the text of the tokens behind them alone, as training's completions are tokenized alone.
    Nothing of the model's generation_config.json is used but its end tokens, to which the tokenizer's is added, since
    training ends completions with that one.

    Args:
        model: left in the mode (training or evaluation) it came in.
        tokenizer: of the model.
        prompts: texts or messages, at least one.
        max_new_tokens: tokens at most, end of text included.
        seeds: integers for each prompt, from which its sample is drawn, whatever else is in the batch; None: greedy.
        temperature: of the sampling, above 0 where there are seeds.
        top_p: of the sampling, in (0, 1].
        stop: strings; a completion ends before the first of them.
        condition: "right" or "wrong": the label that a generative critic decodes under.

    Raises:
        DataError: a prompt without tokens, or messages without a chat template.
    """
    ids, mask = _padded_left(prompt_tokens(tokenizer, prompts), _pad_token(tokenizer))
    ends = _end_tokens(model, tokenizer)
    options: dict[str, Any] = {}
    if seeds is not None:
        options["logits_processor"] = [
            SeededDraws(seeds, max_new_tokens, temperature=temperature, top_p=top_p)
        ]
    if stop:
        options["stopping_criteria"] = [StopStrings(tokenizer, stop)]
    with _evaluating(model):
        output = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=max_new_tokens,
            pad_token_id=_pad_token(tokenizer),
            eos_token_id=sorted(ends) or None,
            condition=condition,
            **PLAIN,
            **options,
        )
    return _completions(tokenizer, output[:, ids.shape[1] :].tolist(), ends, stop)


def prompt_tokens(tokenizer: Any, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Token ids of prompts, as training's encoder gives them.

    Raises:
        DataError: a prompt without tokens, or messages without a chat template.
    """
    return RowEncoder(tokenizer, append_eos=False, columns=(), use_spans=False).prompts(prompts)


def _padded_left(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Ids and attention mask, both [batch, seq]."""
    length = max(map(len, rows))
    ids = torch.tensor([[pad] * (length - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def _pad_token(tokenizer: Any) -> int:
    """Its own, else the end token; masked, so any will do."""
    given = (tokenizer.pad_token_id, tokenizer.eos_token_id)
    return next((token for token in given if token is not None), 0)


def _end_tokens(model: MTPModel, tokenizer: Any) -> set[int]:
    """The tokens that end a text: those of the model, and that with which training ends a completion."""
    own = model.hf_model.generation_config.eos_token_id
    several = own if isinstance(own, list | tuple) else [own]
    return {token for token in (*several, tokenizer.eos_token_id) if token is not None}


@contextmanager
def _evaluating(model: MTPModel) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _completions(
    tokenizer: Any, rows: Sequence[Sequence[int]], ends: set[int], stop: Sequence[str]
) -> list[Completion]:
    lengths = [next((i for i, token in enumerate(row) if token in ends), len(row)) for row in rows]
    texts = plain_texts(tokenizer, [row[:n] for row, n in zip(rows, lengths, strict=True)])
    completions: list[Completion] = []
    for text, row, length in zip(texts, rows, lengths, strict=True):
        cut = cut_at_stop(text, stop)
        ended = "stop" if cut != text else "eos" if length < len(row) else "length"
        completions.append(Completion(cut, ended))
    return completions


def accuracy(prompts: Sequence[str], completions: Sequence[str], verify: Callable[[str, str], bool]) -> float:
    """Share of completions that the verifier accepts, in [0, 1]."""
    return sum(map(verify, prompts, completions)) / len(prompts)
