"""Controls: what is left of a scheme's gain when its weights are torn from their tokens."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from weighted_mtp.value_weighting.episodes import episode_index
from weighted_mtp.value_weighting.protocol import Signals, WeightingScheme
from weighted_mtp.value_weighting.registry import make_scheme
from weighted_mtp.value_weighting.statistics import masked_mean_and_m2, unbiased_std


class Control(WeightingScheme):
    """A scheme that takes the weights of another one, `inner`, from the tokens they belong to.

    Args:
        inner: name of the scheme that is controlled for, or the scheme itself.
        inner_options: its options.

    Examples:
        >>> Control(inner="td", inner_options={"beta": 0.3}).requires
        ('values', 'rewards')
    """

    def __init__(self, inner: str | WeightingScheme = "td", inner_options: Mapping[str, Any] | None = None) -> None:

        super().__init__()
        self.inner = make_scheme(inner, **(inner_options or {})) if isinstance(inner, str) else inner
        self.requires, self.floor = self.inner.requires, self.inner.floor

    def clip_bounds(self) -> tuple[Tensor | float, Tensor | float] | None:
        """Those of the inner scheme."""
        return self.inner.clip_bounds()


class RandomControl(Control):
    """A control that replaces the inner scheme's weights by random ones of the same distribution.

    Randomness comes from `signals.generator` alone and is drawn per valid position, so it does not depend on
    padding; it does depend on how a batch is split. Options as for `Control`.

    Examples:
        >>> Shuffled(inner="td", inner_options={"beta": 0.3}).requires
        ('generator', 'values', 'rewards')
    """

    def __init__(self, inner: str | WeightingScheme = "td", inner_options: Mapping[str, Any] | None = None) -> None:
        super().__init__(inner, inner_options)
        self.requires = ("generator", *self.inner.requires)

    def forward(self, signals: Signals) -> Tensor:
        """Weights of the inner scheme's shape."""
        weights = self.inner(signals)
        per_prediction = weights.ndim == 3
        valid = signals.valid if per_prediction else signals.mask[..., None]
        replaced = self.replace(weights if per_prediction else weights[..., None], valid, signals)
        return replaced if per_prediction else replaced.squeeze(-1)

    def replace(
        self, weights: Float[Tensor, "batch seq heads"], valid: Bool[Tensor, "batch seq heads"], signals: Signals
    ) -> Float[Tensor, "batch seq heads"]:
        """The weights that the control puts in the place of the inner scheme's."""
        raise NotImplementedError(f"{type(self).__name__} needs a method replace(weights, valid, signals)")


class Shuffled(RandomControl):
    """The inner scheme's weights in random order within each sequence (within each segment of a packed row).

    Tells whether it matters *which* token of a sequence gets which weight. It is no null: the weights of a
    sequence still show whether it was right.

    Source: Fisher 1935, The Design of Experiments: the distribution under random permutation.

    Examples:
        >>> from weighted_mtp.value_weighting import weigh
        >>> mask = torch.tensor([[True, True, True, False]])
        >>> given, generator = torch.tensor([[1.0, 2.0, 3.0, 9.0]]), torch.Generator().manual_seed(0)
        >>> signals = Signals(mask=mask, valid=mask[..., None], weights=given, generator=generator)
        >>> sorted(weigh(Shuffled("column"), signals).flatten().tolist())
        [0.0, 1.0, 2.0, 3.0]
    """

    def replace(self, weights: Tensor, valid: Tensor, signals: Signals) -> Tensor:
        """Permutes within each episode and head."""
        batch, seq, heads = valid.shape
        rows = torch.arange(batch, device=valid.device)[:, None]
        episode = rows if signals.segment_ids is None else rows * seq + episode_index(signals.segment_ids)
        group = episode[..., None] * heads + torch.arange(heads, device=valid.device)
        return permute_within(weights, group.expand_as(valid), valid, signals)


class ShuffledAcross(RandomControl):
    """The inner scheme's weights in random order over all valid positions of the batch, head by head.

    The null of a scheme: the same weights, tied to nothing.

    Source: Fisher 1935, The Design of Experiments: the distribution under random permutation.

    Examples:
        >>> from weighted_mtp.value_weighting import weigh
        >>> mask = torch.tensor([[True, True], [True, False]])
        >>> given, generator = torch.tensor([[1.0, 2.0], [3.0, 9.0]]), torch.Generator().manual_seed(0)
        >>> signals = Signals(mask=mask, valid=mask[..., None], weights=given, generator=generator)
        >>> sorted(weigh(ShuffledAcross("column"), signals).flatten().tolist())
        [0.0, 1.0, 2.0, 3.0]
    """

    def replace(self, weights: Tensor, valid: Tensor, signals: Signals) -> Tensor:
        """Permutes within each head."""
        group = torch.arange(valid.shape[2], device=valid.device).expand_as(valid)
        return permute_within(weights, group, valid, signals)


class LogNormal(RandomControl):
    """Random weights, log-normal, with the mean and the standard deviation of the inner scheme's weights.

        w = exp(mu + sigma * n),  sigma^2 = log(1 + (std / mean)^2),  mu = log(mean) - sigma^2 / 2,  n ~ N(0,
        1)

    A null that shares only the spread. The moments are those of the micro-batch; a weight that is not finite
    stays what it is and enters no moment.

    Source: Johnson, Kotz and Balakrishnan 1994, Continuous Univariate Distributions, vol. 1, ch. 14.

    Examples:
        >>> from weighted_mtp.value_weighting import weigh
        >>> mask = torch.tensor([[True, True, True]])
        >>> given, generator = torch.tensor([[2.0, 2.0, 2.0]]), torch.Generator().manual_seed(0)
        >>> signals = Signals(mask=mask, valid=mask[..., None], weights=given, generator=generator)
        >>> weigh(LogNormal("column"), signals).flatten().tolist()
        [2.0, 2.0, 2.0]
    """

    def __init__(self, inner: str | WeightingScheme = "td", inner_options: Mapping[str, Any] | None = None) -> None:
        super().__init__(inner, inner_options)
        if self.floor is not None:
            raise ValueError(
                f"scheme {type(self.inner).__name__} gives negative weights, which log-normal ones are not"
            )

    def clip_bounds(self) -> None:
        """Nothing is clipped."""

    def replace(self, weights: Tensor, valid: Tensor, signals: Signals) -> Tensor:
        """Draws with matched moments."""
        counted = valid & weights.isfinite()
        count, mean, m2 = masked_mean_and_m2(torch.where(counted, weights, 0.0), counted)
        ratio = unbiased_std(count, m2) / torch.where(mean > 0, mean, 1.0)
        sigma = ratio.square().log1p().sqrt()
        normal = standard_normal(hash_per_prediction(valid, signals.generator)).to(weights.dtype)
        drawn = mean * (sigma * normal - 0.5 * sigma.square()).exp()
        return torch.where(counted, drawn, weights)


def permute_within(
    weights: Float[Tensor, "batch seq heads"],
    group: Int64[Tensor, "batch seq heads"],
    valid: Bool[Tensor, "batch seq heads"],
    signals: Signals,
) -> Float[Tensor, "batch seq heads"]:
    """The weights of the valid positions of each group in random order.

    Examples:
        >>> weights, group = torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([[[0], [0], [1]]])
        >>> mask = torch.ones(1, 3, dtype=torch.bool)
        >>> signals = Signals(mask=mask, valid=mask[..., None], generator=torch.Generator().manual_seed(0))
        >>> permuted = permute_within(weights, group, signals.valid, signals)
        >>> sorted(permuted.flatten()[:2].tolist()), permuted.flatten()[2].item()
        ([1.0, 2.0], 3.0)
    """
    keys = hash_per_prediction(valid, signals.generator).flatten()
    group = torch.where(valid, group, -1).flatten()
    by_key = keys.argsort()
    by_group_and_key = by_key[group[by_key].argsort(stable=True)]
    by_group_and_place = group.argsort(stable=True)
    flat = weights.flatten()
    return torch.empty_like(flat).scatter(0, by_group_and_place, flat[by_group_and_key]).view_as(weights)


def hash_per_prediction(
    valid: Shaped[Tensor, "batch seq heads"], generator: torch.Generator | None
) -> Int64[Tensor, "batch seq heads"]:
    """Random 64 bits by seed, row, head, and rank among the valid positions.

    A hash of these four (the finaliser of SplitMix64) instead of `torch.rand`, whose numbers for a valid position would
    change with the padding around it, and with the device. Each call takes one number from the generator.

    Source: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators" (OOPSLA).

    Examples:
        >>> left, right = torch.tensor([[[0], [1], [1]]]), torch.tensor([[[1], [1], [0]]])
        >>> a = hash_per_prediction(left, torch.Generator().manual_seed(0))
        >>> b = hash_per_prediction(right, torch.Generator().manual_seed(0))
        >>> (a[0, 1:] == b[0, :2]).all().item()
        True
    """
    if generator is None:
        raise ValueError("signals.generator is missing: a torch.Generator, the only source of randomness")
    batch, _, heads = valid.shape
    device = valid.device
    seed = torch.randint(2**62, (), generator=generator, device=generator.device).to(device)
    stream = torch.arange(batch * heads, device=device).view(batch, 1, heads)
    state = mix64(mix64(seed) + stream)
    return mix64(state + valid.bool().cumsum(1))


def standard_normal(bits: Int64[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Standard normal numbers by the inverse of their distribution function: one from each 64 bits."""
    # 23 bits and a half: all that float32 holds without rounding to 1, where the inverse is infinite
    uniform = (_shift_right(bits, 41).float() + 0.5) * 2.0**-23
    return 2.0**0.5 * torch.erfinv(2.0 * uniform - 1.0)


def mix64(x: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """Scramble 64 bits one to one; int64 products wrap around."""
    x = (x ^ _shift_right(x, 30)) * -0x40A7B892E31B1A47
    x = (x ^ _shift_right(x, 27)) * -0x6B2FB644ECCEEE15
    return x ^ _shift_right(x, 31)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    # int64 shifts drag the sign along
    return (x >> bits) & ((1 << (64 - bits)) - 1)


class PositionAligned(Control):
    """The inner scheme's weight of position t, given to every head at t.

        weights[b, t, k] = w[b, t] where t predicts a trained token, else 1

    where token alignment (`align_to_heads`) has w[b, t+k], the weight of the very token that head k predicts. It is
    what comes of multiplying weights [batch, seq] into losses [batch, seq, n_future], and exists to be compared with
    token alignment: heads k >= 1 learn a token by the credit of one before it. Just before the response, and in a gap,
    head 0 predicts nothing that is trained but a later head may; no credit is known there, hence 1. Of an inner scheme
    with a weight per prediction, head 0's is taken. With one head it is the inner scheme itself.

    Source: Gloeckle et al. 2024 (arXiv 2404.19737), sec. 2, for the losses of all heads at one position.

    Examples:
        >>> from weighted_mtp.value_weighting import weigh
        >>> mask = torch.tensor([[False, True, True]])
        >>> valid = torch.tensor([[[False, True], [True, True], [True, False]]])
        >>> signals = Signals(mask=mask, valid=valid, weights=torch.tensor([[9.0, 2.0, 3.0]]))
        >>> weigh(PositionAligned("column"), signals).tolist()
        [[[0.0, 1.0], [2.0, 2.0], [3.0, 0.0]]]
    """

    def forward(self, signals: Signals) -> Float[Tensor, "batch seq n_future"]:
        """Weights per prediction, equal over the heads of a position."""
        weights = self.inner(signals)
        if weights.ndim == 3:
            weights = weights[..., 0]
        of_position = torch.where(signals.mask, weights, 1.0)
        return of_position[..., None].expand(-1, -1, signals.n_future)
