"""How a token is drawn, and when a completion ends: what `decode` gives to transformers' `generate`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria

from weighted_mtp.data.borders import BROKEN, Detokenizer
from weighted_mtp.models.draft_rows import RowProcessor

HUMANEVAL_STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
"""Where the body of a function ends. Source: Chen et al. 2021, arXiv 2107.03374, section 3.2."""
MBPP_STOPS = ("\nassert", "\nprint", "\nif ", '\n"""', "\n```")
"""Where a function ends that was asked for by a text and its tests, imports and helpers before it included."""
_READ = 8
"""Tokens before the last ones that their text is decoded behind."""


class SeededDraws(RowProcessor):
    """Draws a row's next token from its own random numbers, so that a sample depends on no other in its batch.

        p = softmax(logits / temperature), renormalised over the fewest tokens that together hold top_p
        token = min {i : p_1 + ... + p_i > u},   u uniform in [0, 1), one number for each row and step

    The token's score is 0 and all others are -inf: decoding stays greedy, and `generate` draws nothing itself.

    Source: Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration", arXiv 1904.09751, for top_p; the
    inverse of the distribution function for the draw.

    `logprobs` [rows, steps] holds log p of each token that was drawn, of all rows. Each row's numbers, `steps` of them,
    are seeded by one or more integers."""

    likeliest = 256
    """Tokens that nearly always hold a nucleus, which is sought among them first."""

    def __init__(self, seeds: Sequence[Sequence[int]], steps: int, *, temperature: float, top_p: float = 1.0) -> None:
        uniform = np.stack([np.random.default_rng(list(seed)).random(steps) for seed in seeds])
        self.uniform = torch.from_numpy(uniform)  # [rows, steps]
        self.temperature, self.top_p = temperature, top_p
        self.rows, self.steps = torch.arange(len(seeds)), torch.zeros(len(seeds), dtype=torch.long)
        self.logprobs = torch.zeros(len(seeds), steps)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these of the rows alone."""
        self.rows = self.rows[list(rows)]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [rows, vocab] of which all but one a row are -inf."""
        if scores.device.type != "mps":  # which has no float64, that small probabilities need to add up
            scores = scores.double()
        probabilities = torch.softmax(scores / self.temperature, dim=-1)
        at = self.rows, self.steps[self.rows]
        u = self.uniform[at][:, None].to(scores)
        if self.top_p == 1.0:
            token, kept = _invert(probabilities, u), torch.ones_like(u)
        else:
            token, kept = _draw_nucleus(probabilities, u, self.top_p, self.likeliest)
        drawn = (probabilities.gather(1, token) / kept).log()[:, 0]
        self.logprobs[at] = drawn.to(self.logprobs)
        self.steps[self.rows] += 1
        return torch.full_like(scores, -torch.inf).scatter(1, token, 0.0)


class Guidance(LogitsProcessor):
    """A generative critic's next token, away from what it would write under the other label.

        scores = log p(x | prefix, label) + guidance * (log p(x | prefix, label) - log p(x | prefix, other label))

    Rows come twice, under the label and then, in the same order, under the other one, and leave with the same scores.
    Under "right" the difference is the token's credit: P(success) moves by it.

    Source: Ho and Salimans 2022, "Classifier-free diffusion guidance", arXiv 2207.12598; Sanchez et al. 2023, "Stay on
    topic with classifier-free guidance", arXiv 2306.17806, for language models.

    Examples:
        >>> scores = torch.tensor([[0.5, 0.5], [0.8, 0.2]]).log()
        >>> Guidance(1.0)(torch.zeros(2, 1), scores).softmax(-1)[0]  # .5 * .5 / .8 to .5 * .5 / .2
        tensor([0.2000, 0.8000])
    """

    def __init__(self, guidance: float) -> None:
        self.guidance = guidance

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [2 rows, vocab]."""
        told, other = scores.float().log_softmax(-1).chunk(2)
        return (told + self.guidance * (told - other)).repeat(2, 1)


def _draw_nucleus(probabilities: Tensor, u: Tensor, top_p: float, among: int) -> tuple[Tensor, Tensor]:
    """A token of the fewest that together hold top_p, and what they hold; [rows, 1] both. Only where the likeliest do
    not suffice are all sorted, which takes as long as a small model's step."""
    all_of_them = among >= probabilities.shape[-1]
    if all_of_them:
        ordered, tokens = probabilities.sort(dim=-1, descending=True, stable=True)
    else:
        tokens = probabilities.topk(among, dim=-1).indices.sort(dim=-1).values  # so that of equals the first is first
        ordered, order = probabilities.gather(1, tokens).sort(dim=-1, descending=True, stable=True)
        tokens = tokens.gather(1, order)
    inside = ordered.cumsum(-1) - ordered < top_p
    nucleus = ordered.where(inside, 0.0)
    token, kept = tokens.gather(1, _invert(nucleus, u)), nucleus.sum(-1, keepdim=True)
    unsure = ordered.where(inside, torch.inf).amin(-1) <= ordered[:, -1]  # as likely as one that is not among them
    if not all_of_them and unsure.any():
        token[unsure], kept[unsure] = _draw_nucleus(probabilities[unsure], u[unsure], top_p, 16 * among)
    return token, kept


def _invert(weights: Tensor, u: Tensor) -> Tensor:
    """First index whose cumulative weight exceeds u times the whole; [rows, 1]. It never has weight 0."""
    cumulative = weights.cumsum(-1)
    whole = cumulative[:, -1:]
    below = torch.minimum(u * whole, whole.nextafter(torch.zeros_like(whole)))  # u * whole may round up to it
    return torch.searchsorted(cumulative, below, right=True)


class StopStrings(StoppingCriteria):
    """Ends a row as soon as the text that it generated holds one of the strings; the prompt is not looked at.

    Only the last tokens are turned into text at each step, and the whole only where those hold a string: a token adds a
    byte at least. What special tokens keep from being seen costs time alone: completions are cut afterwards anyway.
    """

    def __init__(self, detokenizer: Detokenizer, strings: Sequence[str]) -> None:
        self.detokenizer, self.strings = detokenizer, tuple(strings)
        self.window = 1 + max(len(string.encode()) for string in strings)
        self.prompt_tokens: int | None = None

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """True where a row has ended, [rows]."""
        if self.prompt_tokens is None:
            self.prompt_tokens = input_ids.shape[1] - 1  # the first call comes after the first new token
        rows, start = input_ids.tolist(), self.prompt_tokens
        recent = max(start, input_ids.shape[1] - self.window)
        texts = self._texts(rows, recent, behind=max(0, recent - _READ))
        ended = [self._holds(text) or BROKEN in text for text in texts]  # a window may begin within a character
        ended = [maybe and self._holds(self._texts([row], start)[0]) for row, maybe in zip(rows, ended, strict=True)]
        return torch.tensor(ended, device=input_ids.device)

    def hold(self, prompts: Sequence[Sequence[int]], written: Sequence[Sequence[int]]) -> list[bool]:
        """Whether what is written behind each prompt holds one of the strings."""
        return [self._holds(text) for text in self.detokenizer.texts(prompts, written)]

    def _texts(self, rows: Sequence[Sequence[int]], start: int, behind: int = 0) -> list[str]:
        """What the tokens from `start` on add to those from `behind` on."""
        return self.detokenizer.texts([row[behind:start] for row in rows], [row[start:] for row in rows])

    def _holds(self, text: str) -> bool:
        return any(string in text for string in self.strings)


def cut_at_stop(text: str, strings: Sequence[str]) -> str:
    """The text before the first of the strings; all of it where it holds none."""
    return text[: min((at for string in strings if (at := text.find(string)) >= 0), default=len(text))]
