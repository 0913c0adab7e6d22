"""Decoding with drafts: the extra heads guess the tokens that follow, and one forward of head 0 says which hold."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, LogitsProcessorList, StoppingCriteriaList
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.generation.configuration_utils import GenerationMode
from transformers.generation.stopping_criteria import StopStringCriteria

from weighted_mtp.models.architecture import head_logits
from weighted_mtp.models.draft_counts import DraftCounts
from weighted_mtp.models.draft_rows import Reading, Writing
from weighted_mtp.models.parts import HeadedModel

_NOT_TAKEN = (
    "assistant_model", "custom_generate", "inputs_embeds", "negative_prompt_ids", "past_key_values", "position_ids",
    "streamer",
)  # fmt: skip
_NOT_MADE = ("output_attentions", "output_hidden_states", "output_scores", "output_logits")


@dataclass(frozen=True)
class DraftedOutput:
    """What `generate(..., drafts=True, return_dict_in_generate=True)` returns."""

    sequences: Tensor
    """What it returns without `return_dict_in_generate`."""
    drafts: list[DraftCounts]
    """Of each row."""


def generate_with_drafts(model: HeadedModel, *args: Any, **kwargs: Any) -> Any:
    """The decoder's own `generate`, with another loop: as many forwards fewer as guesses of the extra heads hold.

        head 0 takes x_{t+1} from p_t, as it does without drafts: the likeliest token, or one drawn;
        x_{t+1} = d_1: the same forward says p_{t+1}, and head 0 goes on with d_2;  else: new guesses from here

    d_k is the likeliest token of head k. As a proposal q it has all its mass on d_k, for which the rule of speculative
    sampling says just this. So what is written has exactly p's distribution, with the same random numbers the same
    text.

    A head has a layer with keys and values of its own, of the tokens in the forward that reads them; where heads follow
    one another, once head 0 has taken the next, and once more where it had been told a draft. Those of tokens that were
    not taken are dropped, and rows aligned on the right again, so that masks and windows are as in plain decoding.

    Source: Gloeckle et al. 2024, arXiv 2404.19737, section 3.2; Leviathan et al. 2023, arXiv 2211.17192, algorithm 1;
    Chen et al. 2023, arXiv 2302.01318.

    Raises:
        ValueError: no extra heads, a decoder whose state cannot be taken back, or what only another loop does.
    """
    _require_draftable(model, kwargs)
    tokenizer, strings = kwargs.pop("tokenizer", None), kwargs.pop("stop_strings", None)
    # generate does not pass the tokenizer on to a loop that is not its own
    if getattr(kwargs.get("generation_config") or model.hf_model.generation_config, "stop_strings", None):
        raise ValueError("stop_strings of a generation_config do not go with drafts=True: give them to generate itself")
    if strings is not None:
        if tokenizer is None:
            raise ValueError("stop_strings are found in text: give the tokenizer too, tokenizer=...")
        criteria = [*(kwargs.get("stopping_criteria") or ()), StopStringCriteria(tokenizer, strings)]
        kwargs["stopping_criteria"] = StoppingCriteriaList(criteria)
    return model.hf_model.generate(*args, custom_generate=partial(_decode, model), **kwargs)


def _require_draftable(model: HeadedModel, kwargs: dict[str, Any]) -> None:
    if model.n_future == 1:
        raise ValueError(
            "drafts are made by extra heads, and this model has none: train it with n_future of 2 or more "
            "(freeze: trunk trains them alone), or leave drafts out"
        )
    config = model.config.get_text_config(decoder=True)
    kinds = {type(layer) for layer in DynamicCache(config=config).layers}
    chunked = getattr(config, "attention_chunk_size", None)
    if chunked or not kinds <= {DynamicLayer, DynamicSlidingWindowLayer}:
        raise ValueError(
            f"drafts need a decoder that can take tokens back, and model type {config.model_type!r} has layers whose "
            "state cannot be: leave drafts out"
        )
    for name in _NOT_TAKEN:
        if kwargs.get(name) is not None:
            raise ValueError(f"{name} does not go with drafts=True: leave one of them out")


def _require_plain(config: Any, given: set[str], rope: dict[str, Any]) -> None:
    """Raises for what `_decode` would have to ignore."""
    mode = config.get_generation_mode()
    if mode not in (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE):
        raise ValueError(f"drafts=True decodes greedily or samples, and these settings ask for {mode.value}")
    asked = [name for name in _NOT_MADE if getattr(config, name)] + ["use_cache=False"] * (not config.use_cache)
    if asked := [*asked, *sorted(given)]:
        raise ValueError(f"{asked[0]} does not go with drafts=True: leave one of them out")
    for of_layers in (rope,) if "rope_type" in rope else rope.values():
        short = of_layers.get("original_max_position_embeddings")
        if of_layers.get("rope_type") in ("dynamic", "longrope") and short and config.max_length > short:
            raise ValueError(
                f"drafts=True up to {config.max_length} tokens: beyond {short} this model turns all positions by other "
                "angles as soon as one is read, drafted or not: give a max_length up to there, or leave drafts out"
            )


@torch.no_grad()
def _decode(
    model: HeadedModel,
    hf_model: Any,
    input_ids: Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: Any,
    **others: Any,
) -> Tensor | DraftedOutput:
    """What `generate` calls instead of its loop."""
    mask = others.pop("attention_mask", None)
    known = {"position_ids", "past_key_values", "use_cache", "logits_to_keep"}
    rope = getattr(model.config.get_text_config(decoder=True), "rope_parameters", None) or {}
    _require_plain(generation_config, {name for name, x in others.items() if x is not None} - known, rope)
    ids = input_ids.to(model.device)
    mask = torch.ones_like(ids) if mask is None else mask.to(ids)
    writing = Writing(ids, logits_processor, stopping_criteria, generation_config, model.n_future - 1)
    reading, hidden = Reading.of(model, ids, mask, writing.most)
    alive, drafts = list(range(len(ids))), ids[:, :0]
    while True:
        logits = head_logits(hf_model, hidden[:, -1 - drafts.shape[1] :, 0])
        taken = writing.take(alive, logits, drafts.tolist())
        unfinished = writing.unfinished()
        places = [place for place, row in enumerate(alive) if row in unfinished]
        if not places:
            break
        undone = torch.tensor([logits.shape[1] - count for count in taken], device=ids.device)
        drafts = reading.draft(writing.last(alive), undone)[places]
        alive = [alive[place] for place in places]
        reading.keep(places, undone[places])
        drafts = drafts[:, : writing.room(alive)]
        hidden = reading.read(torch.cat([writing.last(alive, 1 + reading.again), drafts], dim=1))
    sequences = writing.sequences().to(input_ids.device)
    if generation_config.return_dict_in_generate:
        return DraftedOutput(sequences, writing.counts())
    return sequences
