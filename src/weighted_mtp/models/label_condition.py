"""Conditioning a decoder on the label of its completion: by a learned embedding, or by text tags."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn as nn
from jaxtyping import Int, Shaped
from torch import Tensor

from weighted_mtp.models.packing import Packing

RIGHT = 1
WRONG = 0
UNTOLD = -1
"""What a row of `condition` says: the completion is right, it is wrong, or nothing."""

Rows = tuple[Tensor, Tensor | None, Tensor | None]
"""input_ids, attention_mask, position_ids, each [batch, seq]."""
Decode = Callable[[Tensor, Tensor | None, Tensor | None, Packing | None], Tensor]
"""Those three, and how they are packed -> hidden states [batch, seq, ...], or [packs, length, ...]."""


class LabelEmbedding(nn.Module):
    """Adds a learned vector of the label to the embedding of every token.

        x_t = embed(token_t) + e[condition],   e[UNTOLD] = 0

    Both vectors start at zero: the untrained model is the plain one under either label. They are float32 in any model,
    since small updates of narrower numbers round away.

    Source: Keskar et al. 2019 (CTRL, arXiv 1909.05858) for conditioning on a code; Chen et al. 2021 (Decision
    Transformer, arXiv 2106.01345) for conditioning on the outcome.
    """

    def __init__(self, embeddings: nn.Module):
        super().__init__()
        like = embeddings.weight
        assert isinstance(like, Tensor)
        self.weight = nn.Parameter(torch.zeros(2, like.shape[1], device=like.device))

    def decode(
        self,
        decode: Decode,
        embeddings: nn.Module,
        rows: Rows,
        condition: Shaped[Tensor, " batch"],
        packing: Packing | None = None,
    ) -> Tensor:
        """Hidden states under the labels."""
        told = condition[:, None]
        if packing is not None:
            assert rows[1] is not None, "checked by the model"
            told = packing.layout(rows[1]).pack(told.expand(rows[1].shape), fill=UNTOLD)
        with self._attached_to(embeddings, told):
            return decode(*rows, packing)

    def generate(self, hf_model: Any, condition: Shaped[Tensor, " batch"], input_ids: Tensor, **kwargs: Any) -> Any:
        """The decoder's own `generate` under the labels."""
        with self._attached_to(hf_model.get_input_embeddings(), condition[:, None]):
            return hf_model.generate(input_ids=input_ids, **kwargs)

    @contextmanager
    def _attached_to(self, embeddings: nn.Module, condition: Tensor) -> Iterator[None]:
        """While inside, `embeddings` adds the vectors; the hook lives only this long, as that of the heads."""
        condition = condition.to(self.weight.device)
        added = torch.where((condition != UNTOLD)[..., None], self.weight[condition.clamp(min=0)], 0.0)

        def add(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            return output + added.to(output.dtype)

        handle = embeddings.register_forward_hook(add)
        try:
            yield
        finally:
            handle.remove()


class LabelTags(nn.Module):
    """Puts a text tag of the label in front of the prompt, after a token that begins every text (BOS).

    No parameter is added, so a conditioned model is a plain one whose prompts say what is wanted. States at the tag's
    positions are taken out again: positions of what comes back are those of what came in.

    Source: Korbak et al. 2023, "Pretraining Language Models with Human Preferences" (arXiv 2302.08582),
    conditional training.

    `bos` stays in front of the tag, where a row begins with it; None: no such token.
    """

    def __init__(self, right: list[int], wrong: list[int], bos: int | None = None):
        super().__init__()
        self.bos = bos
        length = max(len(right), len(wrong))
        # Row 0 wrong, row 1 right, row 2 nothing; -1 where a tag is shorter than the other.
        rows = [tag + [-1] * (length - len(tag)) for tag in (wrong, right, [])]
        self.register_buffer("tags", torch.tensor(rows), persistent=False)
        self.tags: Tensor

    def decode(
        self,
        decode: Decode,
        embeddings: nn.Module,
        rows: Rows,
        condition: Shaped[Tensor, " batch"],
        packing: Packing | None = None,
    ) -> Tensor:
        """Hidden states under the labels, at the positions of the rows' ids."""
        input_ids, attention_mask, position_ids = rows
        if position_ids is not None:
            raise ValueError("a tagged row gets its own positions: leave position_ids out")
        ids, mask, place = self.insert(input_ids, attention_mask, condition)
        if packing is not None:
            assert attention_mask is not None, "checked by the model"
            longer = packing.lengthened(self.tags.shape[1])
            hidden = decode(ids, mask, None, longer)
            tokens = longer.layout(mask).place.gather(1, place)
            return hidden.flatten(0, 1)[packing.layout(attention_mask).pack(tokens)]
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        hidden = decode(ids, mask, positions, None)
        return hidden[torch.arange(len(hidden), device=hidden.device)[:, None], place]

    def insert(
        self,
        input_ids: Int[Tensor, "batch seq"],
        attention_mask: Shaped[Tensor, "batch seq"] | None,
        condition: Shaped[Tensor, " batch"],
    ) -> tuple[Int[Tensor, "batch longer"], Int[Tensor, "batch longer"], Int[Tensor, "batch seq"]]:
        """Ids and attention mask with the tags in, and where each position of `input_ids` went."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask.long()
        batch, seq = input_ids.shape
        tag = self.tags[torch.where(condition == UNTOLD, 2, condition).to(self.tags.device)]
        first = mask.argmax(1, keepdim=True)  # behind the padding on the left
        if self.bos is not None:
            first = first + (input_ids.gather(1, first) == self.bos).long()
        own = torch.arange(seq, device=input_ids.device).expand(batch, seq)
        place = own + (own >= first) * tag.shape[1]
        tag_place = first + torch.arange(tag.shape[1], device=input_ids.device)
        longer = input_ids.new_zeros(batch, seq + tag.shape[1])
        ids = longer.scatter(1, place, input_ids).scatter(1, tag_place, tag.clamp(min=0))
        attended = longer.scatter(1, place, mask).scatter(1, tag_place, (tag >= 0).to(longer.dtype))
        return ids, attended, place

    def generate(self, hf_model: Any, condition: Shaped[Tensor, " batch"], input_ids: Tensor, **kwargs: Any) -> Any:
        """The decoder's own `generate` under the labels; the tag is not in what comes back."""
        ids, mask, _ = self.insert(input_ids, kwargs.pop("attention_mask", None), condition.expand(len(input_ids)))
        output = hf_model.generate(input_ids=ids, attention_mask=mask, **kwargs)
        sequences = output if isinstance(output, Tensor) else output.sequences
        new = sequences[:, ids.shape[1] :]
        copies = len(sequences) // len(input_ids)  # sampled sequences a prompt
        sequences = torch.cat([input_ids.repeat_interleave(copies, 0), new], dim=1)
        if isinstance(output, Tensor):
            return sequences
        output.sequences = sequences
        return output


LabelCondition = LabelEmbedding | LabelTags
