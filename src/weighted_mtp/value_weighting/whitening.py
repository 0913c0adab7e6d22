"""Credit in units of its own spread: z-scores by batch statistics, or by a running estimate."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from weighted_mtp.checks import check_number, check_shape, working_dtype
from weighted_mtp.value_weighting.statistics import masked_mean_and_m2, merge_mean_and_m2, unbiased_std


def whiten(x: Shaped[Tensor, "*shape"], mask: Shaped[Tensor, "*shape"] | None = None) -> Float[Tensor, "*shape"]:
    """Masked z-score.

        z = (x - mean) / std,   0 outside the mask

    with mean and unbiased standard deviation over the finite valid elements of all rows. A constant input
    (one whose spread is no more than rounding) gives 0, and so does one element. NaN at a valid element stays
    NaN and reaches no other.

    Source: Andrychowicz et al. 2020 (arXiv 2006.05990), decision C67 (advantage normalisation).

    Examples:
        >>> whiten(torch.tensor([1.0, 2.0, 3.0, 50.0]), torch.tensor([1, 1, 1, 0])).tolist()
        [-1.0, 0.0, 1.0, 0.0]
        >>> whiten(torch.tensor([0.1, 0.1, 0.1])).tolist()
        [0.0, 0.0, 0.0]
    """
    x, mask = _prepared(x, mask)
    count, mean, m2 = masked_mean_and_m2(x, mask & x.isfinite())
    return torch.where(mask, standardise(x, mean, unbiased_std(count, m2)), 0.0)


def standardise(x: Float[Tensor, "*shape"], mean: Float[Tensor, ""], std: Float[Tensor, ""]) -> Float[Tensor, "*shape"]:
    """(x - mean) / std, and 0 where the spread is no more than the rounding of the mean."""
    # a sum of equal float32 numbers is off by a few units in the last place, and 1e-9 / 1e-9 is no score
    constant = std <= 32.0 * torch.finfo(x.dtype).eps * mean.abs()
    centred = x - mean
    # 0 * centred, so that NaN stays NaN
    return torch.where(constant, 0.0 * centred, centred / torch.where(constant, 1.0, std))


class EMAWhitener(nn.Module):
    """z-scores by running statistics: the same for micro-batches, for the whole batch and for all ranks.

        z = (x - mean) / std
        mean <- mean + rate * (mean of the step - mean),  likewise the variance
        rate = (1 - decay) / (1 - decay^steps)

    the bias-corrected moving average: the first step's statistics are taken as they are. `forward` reads
    statistics that stand still within an optimizer step and, in training mode, collects those of the step;
    `commit`, called once after each optimizer step, takes the collected ones of all processes into the
    average. In evaluation mode nothing is collected. Before the first commit mean is 0 and std 1. Elements
    that are NaN or infinite stay what they are and enter no statistic; a step without a valid element changes
    nothing. The buffers are the whole state: `state_dict` is the checkpoint.

    Source: bias correction as in Kingma and Ba 2014 (arXiv 1412.6980), sec. 3; merging as `merge_mean_and_m2`.

    Args:
        decay: weight of the past, in [0, 1); 0.99 remembers about 100 optimizer steps.

    Examples:
        >>> whitener = EMAWhitener(decay=0.9)
        >>> x, mask = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1, 1, 1]])
        >>> whitener(x, mask).tolist()
        [[1.0, 2.0, 3.0]]
        >>> whitener.commit()
        >>> whitener(x, mask).tolist()
        [[-1.0, 0.0, 1.0]]
    """

    mean: Tensor
    var: Tensor
    weight: Tensor
    step_count: Tensor
    step_mean: Tensor
    step_m2: Tensor

    def __init__(self, decay: float = 0.99) -> None:
        super().__init__()
        self.decay = check_number("decay", decay, 0.0, 1.0, "[)")
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("var", torch.tensor(1.0))
        self.register_buffer("weight", torch.tensor(0.0))  # 1 - decay^steps: 0 before the first commit
        self.register_buffer("step_count", torch.tensor(0))
        self.register_buffer("step_mean", torch.tensor(0.0))
        self.register_buffer("step_m2", torch.tensor(0.0))

    def forward(
        self, x: Shaped[Tensor, "*shape"], mask: Shaped[Tensor, "*shape"] | None = None
    ) -> Float[Tensor, "*shape"]:
        """`whiten`, and in training mode also `observe`."""
        if self.training:
            self.observe(x, mask)
        return self.whiten(x, mask)

    def whiten(
        self, x: Shaped[Tensor, "*shape"], mask: Shaped[Tensor, "*shape"] | None = None
    ) -> Float[Tensor, "*shape"]:
        """z-scores of `x` by the statistics of earlier steps, 0 outside the mask."""
        x, mask = _prepared(x, mask)
        return torch.where(mask, standardise(x, self.mean.to(x.dtype), self.var.sqrt().to(x.dtype)), 0.0)

    def needs_statistics(self) -> bool:
        """Whether nothing was committed yet; waits for the device."""
        return not bool(self.weight > 0)

    @torch.no_grad()
    def observe(self, x: Shaped[Tensor, "*shape"], mask: Shaped[Tensor, "*shape"] | None = None) -> None:
        """Collect the statistics of one micro-batch for the next `commit`."""
        x, mask = _prepared(x, mask)
        count, mean, m2 = masked_mean_and_m2(x, mask & x.isfinite())
        merged = merge_mean_and_m2(
            torch.stack([self.step_count, count]),
            torch.stack([self.step_mean, mean.to(self.step_mean.dtype)]),
            torch.stack([self.step_m2, m2.to(self.step_m2.dtype)]),
        )
        _assign([self.step_count, self.step_mean, self.step_m2], merged)

    @torch.no_grad()
    def commit(self) -> None:
        """Take what was collected, by all processes, into the average: once after each optimizer step."""
        count, mean, m2 = merge_over_processes(self.step_count, self.step_mean, self.step_m2)
        weight = self.decay * self.weight + (1.0 - self.decay)
        rate = torch.where(count > 0, (1.0 - self.decay) / weight, 0.0)
        updated = (
            torch.where(count > 0, weight, self.weight),
            self.mean.lerp(mean, rate),
            self.var.lerp(m2 / (count - 1).clamp(min=1), rate),
        )
        _assign([self.weight, self.mean, self.var], updated)
        for collected in (self.step_count, self.step_mean, self.step_m2):
            collected.zero_()


def merge_over_processes(
    count: Shaped[Tensor, ""], mean: Float[Tensor, ""], m2: Float[Tensor, ""]
) -> tuple[Shaped[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    """Count, mean and sum of squared deviations over all processes; what came in where there is only one."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return count, mean, m2
    own = torch.stack([count.to(mean.dtype), mean, m2])
    of_all = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(of_all, own)  # pyright: ignore[reportUnknownMemberType]
    counts, means, m2s = torch.stack(of_all).unbind(1)
    return merge_mean_and_m2(counts, means, m2s)


def _prepared(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    if mask is None:
        mask = torch.ones_like(x, dtype=torch.bool)
    check_shape("mask", mask, tuple(x.shape), "the shape of what it masks")
    mask = mask.bool()
    # what is masked is not read, not even by a backward pass
    return torch.where(mask, x.to(working_dtype(x)), 0.0), mask


def _assign(buffers: list[Tensor], values: tuple[Tensor, ...]) -> None:
    for buffer, value in zip(buffers, values, strict=True):
        buffer.copy_(value)
