"""Statistics that stay on the device until they are logged, and that add up over batches and processes."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from weighted_mtp.checks import check_shape, working_dtype


class Moments(NamedTuple):
    """What is kept of a set of numbers, as 0-d tensors; two sets merge into one by `merge_moments`.

    Examples:
        >>> m = moments(torch.tensor([1.0, 3.0]))
        >>> m.count.item(), m.mean.item(), m.m2.item()
        (2, 2.0, 2.0)
    """

    count: Int64[Tensor, ""]  # pyright: ignore[reportIncompatibleMethodOverride]
    """number of valid elements"""
    mean: Float[Tensor, ""]
    """0 when there is none"""
    m2: Float[Tensor, ""]
    """sum of squared deviations from the mean"""
    min: Float[Tensor, ""]
    """inf when there is none"""
    max: Float[Tensor, ""]
    """-inf when there is none"""
    size: Float[Tensor, ""]
    """sum of absolute values"""
    entropy: Float[Tensor, ""]
    """-sum p log p with p = |x| / size, in nats; 0 when the size is 0"""


def moments(x: Shaped[Tensor, "*shape"], mask: Shaped[Tensor, "*shape"] | None = None) -> Moments:
    """Moments of the valid elements, without a host synchronisation and without a gradient.

    NaN at a valid element shows in every moment but the count; elements outside the mask are never read. float64
    stays, all else is computed in float32.

    Source: Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance", The American
    Statistician 37(3).

    Examples:
        >>> m = moments(torch.tensor([1.0, 3.0, float("nan")]), torch.tensor([True, True, False]))
        >>> m.mean.item(), m.max.item()
        (2.0, 3.0)
    """
    if mask is None:
        mask = torch.ones_like(x, dtype=torch.bool)
    check_shape("mask", mask, tuple(x.shape), "the shape of what it masks")
    x, mask = x.detach().to(working_dtype(x)), mask.bool()
    count, mean, m2 = masked_mean_and_m2(x, mask)
    inf = torch.full((), torch.inf, dtype=x.dtype, device=x.device)
    low = torch.where(mask, x, inf).amin() if x.numel() else inf
    high = torch.where(mask, x, -inf).amax() if x.numel() else -inf
    x = torch.where(mask, x, 0.0).abs()
    size = x.sum()
    return Moments(count, mean, m2, low, high, size, entropy_of_shares(x, size))


def entropy_of_shares(x: Float[Tensor, "*shape"], total: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """-sum p log p, p = x / total: of shares, because log(sum x) - sum(x log x) / sum x cancels for tiny x.

    Examples:
        >>> round(entropy_of_shares(torch.tensor([1.0, 1.0]), torch.tensor(2.0)).item(), 4)
        0.6931
    """
    p = x / torch.where(total == 0, 1.0, total)
    return -torch.xlogy(p, p).sum()


def masked_mean_and_m2(
    x: Float[Tensor, "*shape"], mask: Shaped[Tensor, "*shape"]
) -> tuple[Int64[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    """Count, mean and sum of squared deviations, in two passes: a sum of squares loses 1e6 +- 1 in float32."""
    count = mask.sum()
    mean = torch.where(mask, x, 0.0).sum() / count.clamp(min=1)
    m2 = torch.where(mask, x - mean, 0.0).square().sum()
    return count, mean, m2


def merge_mean_and_m2(
    counts: Shaped[Tensor, " parts"], means: Float[Tensor, " parts"], m2s: Float[Tensor, " parts"]
) -> tuple[Shaped[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    """Count, mean and sum of squared deviations of a union of disjoint sets.

    Source: Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance", The American
    Statistician 37(3).
    """
    count = counts.sum()
    mean = (counts * means).sum() / count.clamp(min=1)
    m2 = m2s.sum() + (counts * (means - mean).square()).sum()
    return count, mean, m2


def merge_moments(*parts: Moments) -> Moments:
    """Moments of the union of disjoint sets, as of all elements at once, to rounding: of micro-batches, of processes.

    Source: as for `moments`.

    Examples:
        >>> a, b = moments(torch.tensor([1.0])), moments(torch.tensor([3.0, 5.0]))
        >>> merge_moments(a, b) == moments(torch.tensor([1.0, 3.0, 5.0]))
        True
    """
    stacked = Moments(*(torch.stack(field) for field in zip(*parts, strict=True)))
    count, mean, m2 = merge_mean_and_m2(stacked.count, stacked.mean, stacked.m2)
    low, high = stacked.min.amin(), stacked.max.amax()
    size = stacked.size.sum()
    # chain rule: entropy within the parts, each by its share, and entropy of the shares
    within = (stacked.size / torch.where(size == 0, 1.0, size) * stacked.entropy).sum()
    return Moments(count, mean, m2, low, high, size, within + entropy_of_shares(stacked.size, size))


def unbiased_std(count: Shaped[Tensor, ""], m2: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Standard deviation with N - 1; 0 for one element or none.

    Examples:
        >>> unbiased_std(torch.tensor(3), torch.tensor(8.0)).item()
        2.0
    """
    variance = m2 / (count - 1).clamp(min=1)
    zero = variance == 0  # where the root has an infinite slope, which would make NaN of a gradient of 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, variance).sqrt())


def td_stats(m: Moments) -> dict[str, Float[Tensor, ""]]:
    """Statistics of TD errors as 0-d tensors; zeros when no element was valid.

    Source: Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance", The American
    Statistician 37(3).

    Examples:
        >>> {k: v.item() for k, v in td_stats(moments(torch.tensor([1.0, 3.0, 2.0]))).items()}
        {'td_mean': 2.0, 'td_std': 1.0, 'td_min': 1.0, 'td_max': 3.0}
    """
    return _named("td", m)


def weight_stats(m: Moments) -> dict[str, Float[Tensor, ""]]:
    """Statistics of weights as 0-d tensors, with two measures of how far they are from uniform.

        weight_entropy = H / log N,  weight_kl = KL(p || uniform) = log N - H   (nats)
        H = -sum p log p,  p = |w| / sum |w|,  over the N valid elements

    Entropy: 1 for one element, 0 when none is valid or all weights are 0. KL: 0 in these three cases. Of a signed
    scheme's weights both are about how the push is shared out, whichever way it goes.

    Source: Shannon 1948, "A mathematical theory of communication", sec. 6; Cover and Thomas 2006, Elements of
    Information Theory, eq. 2.94.

    Returns:
        `weight_mean`, `weight_std`, `weight_min`, `weight_max`, `weight_entropy`, `weight_kl`.

    Examples:
        >>> stats = weight_stats(moments(torch.tensor([1.0, 1.0, 0.0, 0.0])))
        >>> round(stats["weight_entropy"].item(), 4), round(stats["weight_kl"].item(), 4)
        (0.5, 0.6931)
    """
    log_count = m.count.clamp(min=2).to(m.size.dtype).log()
    # one element: 1 and 0, but NaN where it is NaN
    normalised = torch.where(m.count == 1, 1.0 + m.entropy, (m.entropy / log_count).clamp(0.0, 1.0))
    kl = torch.where(m.count == 1, m.entropy, (log_count - m.entropy).clamp(min=0.0))
    nothing = m.size == 0  # and not `size > 0`, which would hide NaN
    return _named("weight", m) | {
        "weight_entropy": normalised.masked_fill(nothing, 0.0),
        "weight_kl": kl.masked_fill(nothing, 0.0),
    }


def _named(prefix: str, m: Moments) -> dict[str, Tensor]:
    empty = m.count == 0
    return {
        f"{prefix}_mean": m.mean,
        f"{prefix}_std": unbiased_std(m.count, m.m2),
        f"{prefix}_min": m.min.masked_fill(empty, 0.0),
        f"{prefix}_max": m.max.masked_fill(empty, 0.0),
    }


def clip_fraction(
    weights: Shaped[Tensor, "*shape"],
    mask: Shaped[Tensor, "*shape"],
    min_weight: float | Tensor,
    max_weight: float | Tensor,
) -> Float[Tensor, ""]:
    """Share of the valid weights that lie at a clip bound; 0 when none is valid.

    Source: the diagnostic of clipped policy updates, Schulman et al. 2017 (arXiv 1707.06347).

    Examples:
        >>> clip_fraction(torch.tensor([0.1, 5.0, 1.0, 0.0]), torch.tensor([1, 1, 1, 0]), 0.1, 5.0).item()
        0.6666666865348816
    """
    check_shape("mask", mask, tuple(weights.shape), "the shape of weights")
    mask = mask.bool()
    clipped = mask & ((weights <= min_weight) | (weights >= max_weight))
    return clipped.sum() / mask.sum().clamp(min=1)


def critic_drift(
    values: Shaped[Tensor, "*shape"], values_at_start: Shaped[Tensor, "*shape"], mask: Shaped[Tensor, "*shape"]
) -> Float[Tensor, ""]:
    """How far a critic has moved since the start of training: mean Bernoulli KL over the valid positions.

        mean of V log(V / U) + (1 - V) log((1 - V) / (1 - U)),   V = values, U = values at the start

    in nats, on the same prefixes; 0 when no position is valid. Probabilities are kept one rounding step away from 0
    and 1, where the divergence is infinite.

    Source: Kullback and Leibler 1951, "On information and sufficiency", Annals of Mathematical Statistics 22(1).

    Examples:
        >>> now, start = torch.tensor([0.5, 0.9]), torch.tensor([0.25, 0.1])
        >>> round(critic_drift(now, start, torch.tensor([1, 0])).item(), 4)
        0.1438
    """
    for name, tensor in (("values_at_start", values_at_start), ("mask", mask)):
        check_shape(name, tensor, tuple(values.shape), "the shape of values")
    dtype, mask = working_dtype(values), mask.bool()
    step = torch.finfo(dtype).eps
    now, start = (
        torch.where(mask, v.detach().to(dtype), 0.5).clamp(step, 1.0 - step) for v in (values, values_at_start)
    )
    divergence = now * (now / start).log() + (1.0 - now) * ((1.0 - now) / (1.0 - start)).log()
    return divergence.sum() / mask.sum().clamp(min=1)
