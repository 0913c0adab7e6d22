"""Decoding in batches by head 0, greedy or sampled; `wmtp generate`: one completion of a text or of a chat."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from transformers import PreTrainedTokenizerBase

from weighted_mtp.data.borders import Detokenizer
from weighted_mtp.data.chat import end_tokens, padding_token
from weighted_mtp.data.chat_marks import check_roles
from weighted_mtp.data.encoding import RowEncoder
from weighted_mtp.evaluation.generation import write_tokens
from weighted_mtp.evaluation.sampling import SeededDraws, StopStrings, cut_at_stop
from weighted_mtp.models import MTPModel, load_tokenizer, require_readable
from weighted_mtp.models.draft_counts import DraftCounts
from weighted_mtp.training.errors import ConfigError

Prompt = str | list[dict[str, Any]]
"""Text, or messages for the tokenizer's chat template."""


@dataclass(frozen=True)
class Completion:
    """What a model wrote, and why it stopped."""

    text: str
    """Without special tokens, and without a stop string and all behind it."""
    ended: Literal["eos", "stop", "length"]
    """End of text, a stop string, or cut off at the most tokens."""
    tokens: int = field(default=0, compare=False)
    """How many were written, the end included."""
    logprobs: list[float] | None = field(default=None, compare=False)
    """Of each token under the distribution it was drawn from; None: greedy."""
    drafts: DraftCounts | None = field(default=None, compare=False)
    """What came of the drafts; None: there were none."""


def decode(
    model: MTPModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt], *, batch_size: int = 256,
    temperature: float = 0.0, tools: Sequence[Any] | None = None, **options: Any,
) -> list[str]:  # fmt: skip
    """Texts of `complete` for prompts of many batches; temperature 0 is greedy, above it torch seeds the samples."""
    seeds = torch.randint(2**63 - 1, (len(prompts), 1)).tolist() if temperature > 0 else None
    texts: list[str] = []
    for start in range(0, len(prompts), batch_size):
        chosen = slice(start, start + batch_size)
        given: Any = {"seeds": seeds and seeds[chosen], "tools": tools and tools[chosen], "temperature": temperature}
        found = complete(model, tokenizer, prompts[chosen], **given, **options)
        texts += [completion.text for completion in found]
    return texts


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
    guidance: float = 0.0,
    tools: Sequence[Any] | None = None,
    drafts: bool = False,
) -> list[Completion]:
    """One completion for each prompt of one batch, by head 0.

    Prompts become tokens as in training (`tokenize_rows`). A completion is what its tokens add to the prompt's text
    (`Detokenizer`). Nothing of the model's generation_config.json is used but its end tokens, to which are added those
    with which training ends completions (`end_tokens`).

    Args:
        model, tokenizer, prompts: texts or messages, at least one; the model keeps its mode (training or evaluation).
        max_new_tokens: tokens at most, end of text included.
        seeds: integers for each prompt, from which its sample is drawn, whatever else is in the batch; None: greedy.
        temperature, top_p: of the sampling, above 0 where there are seeds, and in (0, 1].
        stop: strings; a completion ends before the first of them.
        condition: "right" or "wrong": the label that a generative critic decodes under.
        guidance: with a condition, how far from what it would write under the other label (`Guidance`).
        tools: of each prompt that is messages, for the chat template; None: none.
        drafts: the extra heads guess ahead and head 0 checks: the same completions, in fewer forwards.

    Raises:
        DataError: a prompt without tokens, messages without a chat template, or messages that it refuses.
        ValueError: tokens or positions that the model does not have, or drafts of one without extra heads.
    """
    read, pad = prompt_tokens(tokenizer, prompts, tools), padding_token(tokenizer) or 0
    require_readable(model, tokenizer, read, lambda i: f"prompt {i}", further=max_new_tokens)
    ends = end_tokens(tokenizer, model.hf_model.generation_config.eos_token_id)
    detokenizer = Detokenizer(tokenizer)
    draws = None
    if seeds is not None:
        both = [*seeds] * (2 if guidance else 1)
        draws = SeededDraws(both, max_new_tokens, temperature=temperature, top_p=top_p)
    was_training, counts = model.training, list[DraftCounts]()
    model.eval()
    try:
        written = write_tokens(
            model,
            read,
            max_new_tokens=max_new_tokens,
            pad=pad,
            ends=ends,
            draws=draws,
            stop=StopStrings(detokenizer, stop) if stop else None,
            condition=condition,
            guidance=guidance,
            drafts=counts if drafts else None,
        )
    finally:
        model.train(was_training)
    lengths = [len(row) - (row[-1] in ends) for row in written]
    texts = detokenizer.texts(read, [row[:length] for row, length in zip(written, lengths, strict=True)])
    completions: list[Completion] = []
    for i, (text, row, length) in enumerate(zip(texts, written, lengths, strict=True)):
        cut = cut_at_stop(text, stop)
        ended = "stop" if cut != text else "eos" if length < len(row) else "length"
        logprobs = draws.logprobs[i, : len(row)].tolist() if draws else None
        completions.append(Completion(cut, ended, len(row), logprobs, counts[i] if drafts else None))
    return completions


def prompt_tokens(tokenizer: Any, prompts: Sequence[Prompt], tools: Sequence[Any] | None = None) -> list[list[int]]:
    """Token ids of prompts, as training's encoder gives them; errors are those of `complete`."""
    return RowEncoder(tokenizer, append_eos=False, columns=(), use_spans=False).prompts(prompts, tools)


def accuracy(prompts: Sequence[str], completions: Sequence[str], verify: Callable[[str, str], bool]) -> float:
    """Share of completions that the verifier accepts, in [0, 1]."""
    return sum(map(verify, prompts, completions)) / len(prompts)


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
    guidance: float = 0.0,
    tools: Any = None,
    tell: Callable[[str], None] = lambda line: None,
    drafts: bool = False,
) -> str:
    """One completion by head 0: text is read as it is; `label` is what a generative critic is told, `guidance` how far
    it is led from the other, and `tell` takes a line for whoever asked, with `drafts` also what came of them.
    ConfigError: a label or a chat that the model does not take; DataError: messages that its chat template refuses."""
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
    found = complete(
        model,
        tokenizer,
        [prompt],
        max_new_tokens=max_new_tokens,
        seeds=torch.randint(2**63 - 1, (1, 1)).tolist() if temperature else None,
        temperature=temperature,
        condition=label,
        guidance=guidance,
        tools=[tools],
        drafts=drafts,
    )[0]
    if found.drafts:
        tell(str(found.drafts))
    return found.text
