"""Rows of a batch that is decoded with drafts, each at its own pace: what of them is read, and what is written."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, LogitsProcessor, LogitsProcessorList, RepetitionPenaltyLogitsProcessor
from transformers.generation import logits_process

from weighted_mtp.models.draft_counts import DraftCounts
from weighted_mtp.models.parts import HeadedModel

_OF_WHOLE_BATCHES = ("Encoder", "PrefixConstrained", "SynthID", "ClassifierFree")


class RowProcessor(LogitsProcessor):
    """A processor of scores that must know which rows it is asked about: with drafts not all come in one call."""

    rows: Tensor
    """Numbers of the rows of the next call, among those that there were at first."""


class _Penalty(RowProcessor):
    """A repetition penalty, which knows how far each row of the batch is padded."""

    def __init__(self, plain: RepetitionPenaltyLogitsProcessor) -> None:
        self.plain, self.padding = plain, plain.prompt_ignore_length

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        if isinstance(self.padding, Tensor):
            self.plain.prompt_ignore_length = self.padding[self.rows]
        return self.plain(input_ids, scores)


def _by_row(processors: Iterable[LogitsProcessor]) -> Any:
    """The processors, if they take some rows without the others."""
    found = LogitsProcessorList()
    for one in processors:
        name = type(one).__name__
        known = type(one).__module__ == logits_process.__name__ and not any(part in name for part in _OF_WHOLE_BATCHES)
        if not (known or isinstance(one, RowProcessor)):
            raise ValueError(
                f"{name} wants all rows of a batch at once, and with drafts each has its own pace: leave one out"
            )
        found.append(_Penalty(one) if isinstance(one, RepetitionPenaltyLogitsProcessor) else one)
    return found


class Reading:
    """The keys and values of rows, each with as many tokens as were taken, aligned on the right."""

    def __init__(self, model: HeadedModel, mask: Tensor, most: int) -> None:
        self.model, self.mask, self.most = model, mask, most
        self.cache = DynamicCache()  # whole layers: one of a window forgets what is needed if tokens are taken back
        self.again = 0

    @classmethod
    def of(cls, model: HeadedModel, ids: Tensor, mask: Tensor, most: int) -> tuple["Reading", Tensor]:
        """Reads prompts, equal ones once; gives the states behind their last tokens too."""
        distinct, place = torch.cat([ids, mask], dim=1).unique(dim=0, return_inverse=True)
        ids, mask = distinct.chunk(2, dim=1)
        reading = cls(model, mask[:, :0], most)
        hidden = reading.read(ids, mask)
        if not (parallel := model.extra_heads.kind == "parallel"):
            reading.draft(ids[:, -1:], torch.zeros_like(ids[:, 0]))
        reading.cache.reorder_cache(place)
        reading.mask, ids = mask[place], ids[place]
        if parallel:
            reading.ids, reading.hidden = ids[:, -1:], hidden[place, -1:]
            return reading, reading.hidden
        reading.keep(range(len(ids)), torch.ones_like(place))  # what follows the last token differs by row
        return reading, reading.read(ids[:, -1 - reading.again :])

    def read(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Hidden states [rows, tokens, heads, dim] of the tokens that follow."""
        self.mask = torch.cat([self.mask, torch.ones_like(ids) if mask is None else mask], dim=1)
        # A draft beyond the end, where there may be no position, is never taken.
        positions = (self.mask.cumsum(1) - 1).clamp(0, self.most - 1)[:, -ids.shape[1] :]
        hf_model = self.model.hf_model
        with self.model.extra_heads.watching(hf_model) as self.given:
            hidden = hf_model.get_decoder()(
                input_ids=ids,
                attention_mask=self.mask,
                position_ids=positions,
                past_key_values=self.cache,
                use_cache=True,
            ).last_hidden_state
        self.ids, self.hidden = ids, hidden if hidden.ndim == 4 else hidden.unsqueeze(-2)
        return self.hidden

    def draft(self, newest: Tensor, undone: Tensor) -> Tensor:
        """What the heads guess to follow the newest token of each row [rows, 1], [rows, heads]: it is not read yet, and
        stands behind the tokens that were read last, without so many of them."""
        last = self.ids.shape[1] - 1 - undone
        return self.model.extra_heads.draft(self.model.hf_model, self.hidden, self.ids, newest[:, 0], last, self.given)

    def keep(self, rows: Sequence[int], undone: Tensor) -> None:
        """Goes on with these rows, without so many of the last tokens of each, and `again` more, to be read again."""
        self.again = self.model.extra_heads.rereads
        if self.again:
            self.again = min(self.again, int((self.mask.sum(1)[list(rows)] - undone).min()))
            undone = undone + self.again
        if len(rows) == len(self.mask) and (undone == undone[0]).all():
            self.cache.crop(-int(undone[0]))
            self.mask = self.mask[:, : self.mask.shape[1] - int(undone[0])]
            return
        chosen = torch.tensor(rows, device=undone.device)
        mask = self.mask[chosen]
        end = mask.shape[1] - undone
        longest = int((end - mask.argmax(1)).max())
        place = (end - longest)[:, None] + torch.arange(longest, device=end.device)
        inside, place = place >= 0, place.clamp(min=0)
        self.mask = mask.gather(1, place) * inside
        layers: list[Any] = self.cache.layers
        for layer in layers:
            layer.keys, layer.values = (
                x.transpose(1, 2)[chosen[:, None], place].transpose(1, 2) for x in (layer.keys, layer.values)
            )


class Writing:
    """The tokens of rows, each as long as it is, by what `generate` was told: how they are chosen, when they end."""

    def __init__(self, ids: Tensor, processors: Any, criteria: Any, config: Any, heads: int) -> None:
        batch, self.width = ids.shape
        self.most: int = config.max_length
        self.processors, self.criteria, self.samples = _by_row(processors), criteria, config.do_sample
        # As `generate` does: where there is no end token, rows that have ended go on until all have.
        self.pads = any(hasattr(rule, "eos_token_id") for rule in criteria)
        pad = int(config._pad_token_tensor) if self.pads else 0
        self.ids = torch.cat([ids, ids.new_full((batch, self.most - self.width), pad)], dim=1)
        self.length, self.ended = [self.width] * batch, [0] * batch  # ended: at which length, 0: not yet
        self.forwards = [0] * batch
        self.drafted, self.accepted = ([[0] * heads for _ in range(batch)] for _ in range(2))

    def take(self, rows: Sequence[int], logits: Tensor, drafts: list[list[int]]) -> list[int]:
        """Appends to each row head 0's tokens for as long as they are the drafted ones, and the first that is not; how
        many each took. `logits` of head 0 are those behind each row's last token and its drafts, [rows, 1 + drafts,
        vocab]."""
        taken, going = [0] * len(rows), list(range(len(rows)))
        for row in rows:
            self.forwards[row] += 1
            self.drafted[row] = [n + (head < len(drafts[0])) for head, n in enumerate(self.drafted[row])]
        for step in range(logits.shape[1]):
            agreed = list[int]()
            for _, group in groupby(sorted(going, key=lambda i: self.length[rows[i]]), lambda i: self.length[rows[i]]):
                places = list(group)
                tokens, over = self._append([rows[i] for i in places], logits[places, step])
                for i, token, stops in zip(places, tokens, over, strict=True):
                    taken[i] += 1
                    if step < len(drafts[i]) and token == drafts[i][step]:
                        self.accepted[rows[i]][step] += 1
                        agreed += [] if stops else [i]
            going = agreed
        return taken

    def _append(self, rows: list[int], scores: Tensor) -> tuple[list[int], list[bool]]:
        """One token for rows of one length, and whether they stop there."""
        length = self.length[rows[0]]
        for processor in self.processors:
            if isinstance(processor, RowProcessor):
                processor.rows = torch.tensor(rows)
        scores = self.processors(self.ids[rows, :length], scores.float())
        tokens = torch.multinomial(scores.softmax(-1), 1)[:, 0] if self.samples else scores.argmax(-1)
        self.ids[rows, length] = tokens
        over = self.criteria(self.ids[rows, : length + 1], None).tolist()
        for row, stops in zip(rows, over, strict=True):
            self.length[row] += 1
            self.ended[row] = self.ended[row] or stops * self.length[row]
        return tokens.tolist(), over if self.pads else [length + 1 == self.most] * len(rows)

    def unfinished(self) -> set[int]:
        """Rows that want more tokens."""
        if self.pads:
            return {row for row, ended in enumerate(self.ended) if not ended}
        wanted = max(self.ended) if all(self.ended) else self.most
        return {row for row, length in enumerate(self.length) if length < wanted}

    def room(self, rows: Sequence[int]) -> int:
        """How many drafts may be of use to one of these rows."""
        return self.most - 1 - min(self.length[row] for row in rows)

    def last(self, rows: Sequence[int], count: int = 1) -> Tensor:
        """The last tokens of each, [rows, count]."""
        return torch.stack([self.ids[row, self.length[row] - count : self.length[row]] for row in rows])

    def sequences(self) -> Tensor:
        """All rows, as long as the longest, padded behind the end."""
        return self.ids[:, : max(self.ended)]

    def counts(self) -> list[DraftCounts]:
        """What each row took."""
        written = [length - self.width for length in self.length]
        return [DraftCounts(*row) for row in zip(written, self.forwards, self.drafted, self.accepted, strict=True)]
