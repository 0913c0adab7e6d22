"""Greedy decoding in batches, and the share of completions that a verifier accepts."""

from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedTokenizerBase

from weighted_mtp.models import MTPModel


@torch.no_grad()
def decode(
    model: MTPModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int = 256,
    temperature: float = 0.0,
    condition: str | None = None,
) -> list[str]:
    """Completions by head 0, one a prompt, special tokens left out.

    Args:
        model: left in the mode (training or evaluation) it came in.
        tokenizer: pads on the left while decoding.
        prompts: texts.
        max_new_tokens: tokens at most, end of text included.
        batch_size: prompts decoded together.
        temperature: 0 is greedy, above it samples from softmax(logits / temperature).
        condition: "right" or "wrong": the label that a generative critic decodes under.
    """
    was_training, model_device = model.training, model.device
    model.eval()
    sampling = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
    completions: list[str] = []
    for start in range(0, len(prompts), batch_size):
        encoded = tokenizer(
            list(prompts[start : start + batch_size]), return_tensors="pt", padding=True, padding_side="left"
        )
        ids = encoded["input_ids"].to(model_device)
        output = model.generate(
            input_ids=ids,
            attention_mask=encoded["attention_mask"].to(model_device),
            max_new_tokens=max_new_tokens,
            pad_token_id=tokenizer.pad_token_id
            if tokenizer.pad_token_id is not None
            else tokenizer.eos_token_id,
            condition=condition,
            **sampling,
        )
        completions += tokenizer.batch_decode(output[:, ids.shape[1] :], skip_special_tokens=True)
    model.train(was_training)
    return completions


def accuracy(prompts: Sequence[str], completions: Sequence[str], verify: Callable[[str, str], bool]) -> float:
    """Share of completions that the verifier accepts, in [0, 1]."""
    return sum(map(verify, prompts, completions)) / len(prompts)
