"""What a stage knows about a batch, what a scheme makes of it, and the one door between them."""

import dataclasses
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from weighted_mtp.checks import check_rank, check_shape, working_dtype
from weighted_mtp.value_weighting.episodes import align_to_heads, episode_index, episode_sum, valid_positions
from weighted_mtp.value_weighting.returns import compute_gae
from weighted_mtp.value_weighting.td_weighting import compute_td_errors

HOW_TO_SUPPLY = {
    "values": "P(success) by position, [batch, seq]: train a critic first, or give the model a value head",
    "credit": "credit per token, [batch, seq], of a generative or implicit critic: "
    "`wmtp train critic --critic generative`, or a `credit` column in the data",
    "rewards": "1 or 0 per row, [batch], or rewards per position, [batch, seq]: the `label` of the data",
    "outcomes": "the reward of an episode as a whole, made of `rewards`: the `label` of the data",
    "pass_rate": "mean reward of the rows of the same prompt, [batch]: several completions a prompt, or a column",
    "steps": "reward of the step that each token belongs to, [batch, seq]: `steps` in the data",
    "nll": "the model's own loss per prediction, [batch, seq, n_future]: `mtp_nll` of this batch",
    "entropy": "of the model's own predictions, [batch, seq, n_future]: `mtp_likelihoods(..., entropy=True)`",
    "entropy_top20": "of the 20 likeliest tokens among themselves, [batch, seq, n_future]: "
    "`mtp_likelihoods(..., entropy_top20=True)`",
    "reference_nll": "nll by a frozen reference model, [batch, seq, n_future]: name one",
    "weights": "weights per position, [batch, seq]: a `weights` column in the data, as `wmtp score` writes",
    "segment_ids": "episode of each position, [batch, seq]: pack the rows",
    "generator": "a torch.Generator: the only source of randomness, so that a run can be repeated",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Signals:
    """What a stage knows about a batch: prediction-aligned and without gradient. What is None is not known.

    Examples:
        >>> mask = torch.tensor([[True, True, True]])
        >>> values, reward = torch.tensor([[0.5, 0.7, 0.9]]), torch.tensor([1.0])
        >>> signals = Signals(mask=mask, valid=mask[..., None], values=values, rewards=reward)
        >>> [round(x, 3) for x in signals.td_errors[0].tolist()]
        [0.2, 0.2, 0.1]
    """

    mask: Bool[Tensor, "batch seq"]
    """True where position t predicts a trained token (`prediction_mask`)."""
    valid: Bool[Tensor, "batch seq n_future"]
    """True where head k's prediction from t has a target; `valid[..., 0]` is `mask`."""
    values: Shaped[Tensor, "batch seq"] | None = None
    """P(success) given the prefix that includes token t."""
    credit: Shaped[Tensor, "batch seq"] | None = None
    """Credit of the token that position t predicts: by how much it moved the critic's belief, in the critic's
    own unit (log-odds for a generative critic). That of a value head is its TD error, and None here."""
    rewards: Shaped[Tensor, " batch"] | Shaped[Tensor, "batch seq"] | None = None
    """Reward of the row, or of each position."""
    row_rewards: Shaped[Tensor, " batch"] | None = None
    """Reward of the row as a whole, where `rewards` are those of its steps."""
    pass_rate: Shaped[Tensor, " batch"] | None = None
    """Mean reward of the rows of the same prompt."""
    steps: Shaped[Tensor, "batch seq"] | None = None
    """Reward of the step that the token at t+1 belongs to; `rewards` has it once, at the step's last token."""
    segment_ids: Shaped[Tensor, "batch seq"] | None = None
    """Episode of each position in packed rows, 0 for padding."""
    nll: Shaped[Tensor, "batch seq n_future"] | None = None
    """Negative log-likelihood of each prediction, in nats."""
    reference_nll: Shaped[Tensor, "batch seq n_future"] | None = None
    """The same by a frozen reference model."""
    entropy: Shaped[Tensor, "batch seq n_future"] | None = None
    """Entropy of the model's distribution over the vocabulary at each prediction, in nats, in [0, ln vocab]."""
    entropy_top20: Shaped[Tensor, "batch seq n_future"] | None = None
    """Entropy of its 20 likeliest tokens, renormalised to add up to 1, in nats, in [0, ln 20]."""
    weights: Shaped[Tensor, "batch seq"] | None = None
    """Weights that came with the data."""
    gamma: float = 1.0
    """Discount per valid position."""
    generator: torch.Generator | None = None
    """The only source of randomness."""
    training: bool = True
    """False: running statistics are read and not updated, whatever the mode of the scheme."""

    def __post_init__(self) -> None:
        check_rank("mask", self.mask, "[batch, seq]")
        check_rank("valid", self.valid, "[batch, seq, n_future]")
        batch, seq = self.mask.shape
        heads = self.valid.shape[2]
        check_shape("valid", self.valid, (batch, seq, heads), "[batch, seq, n_future]")
        for name in ("row_rewards", "pass_rate"):
            if (signal := getattr(self, name)) is not None:
                check_shape(name, signal, (batch,), "[batch]")
        for name in ("values", "credit", "segment_ids", "weights", "steps"):
            if (signal := getattr(self, name)) is not None:
                check_shape(name, signal, (batch, seq), "[batch, seq]")
        for name in ("nll", "reference_nll", "entropy", "entropy_top20"):
            if (signal := getattr(self, name)) is not None:
                check_shape(name, signal, (batch, seq, heads), "[batch, seq, n_future]")

    @property
    def n_future(self) -> int:
        """Number of prediction heads."""
        return self.valid.shape[2]

    @cached_property
    def td_errors(self) -> Float[Tensor, "batch seq"]:
        """TD errors of the values, computed once per batch."""
        values, rewards = required(self.values, "values"), required(self.rewards, "rewards")
        with torch.no_grad():
            return compute_td_errors(values[..., None], rewards, self.mask, self.gamma, segment_ids=self.segment_ids)

    @cached_property
    def outcomes(self) -> Float[Tensor, "batch _"] | None:
        """Reward of the episode as a whole, [batch, 1], or [batch, seq] in packed rows: the row's, else the sum of what
        its positions are paid, undiscounted."""
        rewards = self.rewards if self.row_rewards is None else self.row_rewards
        if rewards is None:
            return None
        rewards = rewards.to(working_dtype(rewards))
        if rewards.ndim == 1:
            return rewards[:, None]
        paid = torch.where(valid_positions(self.mask, self.segment_ids), rewards, 0.0)
        return episode_sum(paid, None if self.segment_ids is None else episode_index(self.segment_ids))

    @cached_property
    def returns(self) -> Float[Tensor, "batch seq"]:
        """Discounted reward to come at each position, the value of a critic that knows the outcome: gamma^k * R with k
        valid positions still to come; its TD errors are 0."""
        rewards = required(self.rewards, "rewards")
        if self.gamma == 1.0 and rewards.ndim == 1:
            return rewards[:, None].expand(self.mask.shape).to(working_dtype(rewards))
        zeros = torch.zeros_like(self.mask, dtype=working_dtype(rewards))
        with torch.no_grad():
            return compute_gae(zeros, rewards, self.mask, self.gamma, 1.0, self.segment_ids)

    def advantages(self, lam: float) -> Float[Tensor, "batch seq"]:
        """Generalised advantage estimates of the values."""
        values, rewards = required(self.values, "values"), required(self.rewards, "rewards")
        with torch.no_grad():
            return compute_gae(values, rewards, self.mask, self.gamma, lam, self.segment_ids)


def required(signal: Tensor | None, name: str) -> Tensor:
    """The signal itself, or a ValueError that says how to supply it.

    Examples:
        >>> required(None, "rewards")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: signals.rewards is missing: 1 or 0 per row, [batch], or rewards per position, ...
    """
    if signal is None:
        raise ValueError(f"signals.{name} is missing: {HOW_TO_SUPPLY[name]}")
    return signal


class WeightingScheme(nn.Module):
    """Turns signals into weights: the protocol of every entry of `SCHEMES`.

    A scheme names in `requires` the signals that it reads, and returns from `forward` either one weight per
    token, [batch, seq], prediction-aligned, which `weigh` hands to every head, or one per prediction, [batch,
    seq, n_future]. What it returns outside the mask does not matter. State that must outlive a step is kept
    in buffers, so that `state_dict` is its checkpoint; it changes in training mode only, and what a step
    collects takes effect in `commit`, so that micro-batches and ranks see the same statistics.

    Examples:
        >>> class Later(WeightingScheme):
        ...     '''Weighs a token by its position.'''
        ...
        ...     def forward(self, signals):
        ...         return signals.mask.cumsum(1).float()
        >>> mask = torch.tensor([[False, True, True]])
        >>> weigh(Later(), Signals(mask=mask, valid=mask[..., None]))[..., 0].tolist()
        [[0.0, 1.0, 2.0]]
    """

    requires: tuple[str, ...] = ()
    """Names of the fields of `Signals` that `forward` reads, besides the masks."""
    floor: float | None = None
    """Probability below which a token is pushed down no further (`stop_at_floor`), of a scheme whose weights may be
    negative; it then requires nll. None: they are not."""

    def __init__(self) -> None:
        # without it the constructor is that of nn.Module, which takes anything
        super().__init__()

    def weight_range(self, bounded_values: bool) -> tuple[float, float] | None:
        """Least and greatest weight that its options allow, before any row is seen; None: there is no bound.

        Args:
            bounded_values: whether values and rewards are known to lie in [0, 1], and TD errors so in [-1, 1].
        """
        return None

    def forward(self, signals: Signals) -> Tensor:
        """Weights of the batch: [batch, seq] per token, or [batch, seq, n_future] per prediction."""
        raise NotImplementedError(f"{type(self).__name__} needs a method forward(signals)")

    def clip_bounds(self) -> tuple[Tensor | float, Tensor | float] | None:
        """Bounds that the last weights were clipped to, for `clip_fraction`; None: nothing is clipped."""
        return None

    def needs_statistics(self) -> bool:
        """Whether running statistics are still empty, so that weights are not yet those of later steps.

        A trainer then takes them from its first batches, before the first step: it weighs them in training mode and
        commits, as after a step.
        """
        children = (getattr(child, "needs_statistics", None) for child in self.children())
        return any(needs() for needs in children if needs is not None)

    def commit(self) -> None:
        """Take the statistics of the finished optimizer step into use; every process calls it."""
        for child in self.children():
            commit = getattr(child, "commit", None)
            if commit is not None:
                commit()


@torch.no_grad()
def weigh(scheme: WeightingScheme, signals: Signals) -> Float[Tensor, "batch seq n_future"]:
    """Weights of every prediction of the batch: the one way from signals to weights.

        weights[b, t, k] = w[b, t+k] where valid[b, t, k], else 0

    for a scheme that gives one weight w per token; one that gives a weight per prediction is taken as it is.
    Where the scheme has a `floor`, `stop_at_floor` bounds what negative weights do.

    Returns:
        float32 weights without gradient, 0 where a prediction has no target.

    Raises:
        ValueError: a signal that the scheme requires is missing, or its weights have another shape or are no
            tensor of real numbers.

    Examples:
        >>> from weighted_mtp.value_weighting import make_scheme
        >>> mask = torch.tensor([[True, True, False]])
        >>> valid = torch.tensor([[[True, True], [True, False], [False, False]]])
        >>> weigh(make_scheme("uniform"), Signals(mask=mask, valid=valid)).tolist()
        [[[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]]
    """
    for name in scheme.requires:
        if getattr(signals, name) is None:
            raise ValueError(
                f"scheme {type(scheme).__name__} reads signals.{name}, which is missing; "
                f"needed is {HOW_TO_SUPPLY.get(name, 'a field of Signals')}"
            )
    weights = scheme(signals)
    if not isinstance(weights, Tensor) or weights.is_complex():  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"scheme {type(scheme).__name__} returned {type(weights).__name__}; needed is a real tensor")
    weights = weights.float()  # whatever the scheme reckons in: bool, integers, bfloat16, float64
    if tuple(weights.shape) == tuple(signals.mask.shape):
        weights = align_to_heads(weights, signals.n_future)
    elif tuple(weights.shape) != tuple(signals.valid.shape):
        raise ValueError(
            f"scheme {type(scheme).__name__} returned weights of shape {list(weights.shape)}; "
            f"needed is [batch, seq] = {list(signals.mask.shape)} or [batch, seq, n_future] = "
            f"{list(signals.valid.shape)}"
        )
    if scheme.floor is not None:
        weights = stop_at_floor(weights, required(signals.nll, "nll"), scheme.floor)
    return torch.where(signals.valid, weights, 0.0)


def stop_at_floor(
    weights: Float[Tensor, "*shape"], nll: Shaped[Tensor, "*shape"], floor: float
) -> Float[Tensor, "*shape"]:
    """The guard of negative weights: 0 for a token that is unlikely enough already.

        w' = 0 where w < 0 and exp(-nll) < floor, else w

    A negative weight lowers the token's probability, and its loss w * nll (nats) has no lower bound; with the guard
    it gets no lower than w * -log(floor), but for the last step. A floor of 0 stops nothing.

    Source: the trust region of Schulman et al. 2017 (arXiv 1707.06347), which ends the push at a share of the old
    policy's probability; here at a probability, for which no old policy is needed.

    Examples:
        >>> stop_at_floor(torch.tensor([-1.0, -1.0, 1.0]), torch.tensor([0.5, 5.0, 5.0]), 0.01).tolist()
        [-1.0, 0.0, 1.0]
    """
    return torch.where((weights < 0) & ((-nll).exp() < floor), 0.0, weights)
