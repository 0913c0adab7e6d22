"""What a model thinks of every prediction: its nll and its entropy, from one pass through the unembedding."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from weighted_mtp import IGNORED
from weighted_mtp.checks import require_floats, require_integers, require_number, require_shape, working_dtype
from weighted_mtp.losses.linear_ce import Backend, Gradients, Rows, Unembedding, chunked


@dataclass(frozen=True, eq=False)
class MTPLikelihoods:
    """Detached likelihoods of every prediction, in nats; 0 where the target is -100."""

    nll: Float[Tensor, "batch seq n_future"]
    """-log p(target)."""
    entropy: Float[Tensor, "batch seq n_future"] | None
    """-sum over the vocabulary of p log p, in [0, ln vocab]; None if it was not asked for."""
    entropy_top20: Float[Tensor, "batch seq n_future"] | None
    """The same of the 20 likeliest tokens, renormalised, in [0, ln 20]; None likewise."""
    slope: Shaped[Tensor, "rows dim"] | None
    """d nll / d hidden of every prediction, heads flattened into rows: where hidden alone needs a gradient, so that a
    loss made of these predictions asks the unembedding nothing more; None elsewhere."""
    made_of: tuple[object, ...]
    """What tells the predictions they belong to: where hidden and targets lie, how often they were written to, and how
    the logits were scaled."""


def mtp_likelihoods(
    hidden: Shaped[Tensor, "batch seq n_future dim"],
    lm_head_weight: Shaped[Tensor, "vocab dim"],
    targets: Shaped[Tensor, "batch seq n_future"],
    *,
    entropy: bool = False,
    entropy_top20: bool = False,
    bias: Shaped[Tensor, " vocab"] | None = None,
    logit_scale: float = 1.0,
    softcap: float | None = None,
) -> MTPLikelihoods:
    """The nll of every target and the entropy of every prediction, without ever holding the logits.

        nll[b, t, k] = -log p[targets[b, t, k]];  entropy[b, t, k] = -sum over v of p[v] log p[v]
        p = softmax(logits[b, t, k])

    Logits as in `weighted_mtp_loss`. Rows with target -100 are not read. No gradient flows to the result. Weights that
    are made of it can be used in a loss over the same tensors: `weighted_mtp_loss(..., likelihoods=...)` then takes the
    nll from here, and, where the unembedding is frozen (LoRA), the gradient of hidden too, which scales with the weight
    of a row. An unembedding that learns is gone through once more, since its gradient sums over rows by their weights.

    Args:
        hidden, lm_head_weight, targets, bias, logit_scale, softcap: as for `weighted_mtp_loss`.
        entropy: whether to make it.
        entropy_top20: whether to make that of the 20 likeliest tokens, renormalised to add up to 1.

    Examples:
        >>> hidden, unembedding = torch.zeros(1, 2, 1, 2), torch.zeros(3, 2)
        >>> known = mtp_likelihoods(hidden, unembedding, torch.tensor([[[0], [-100]]]), entropy=True)
        >>> known.nll.squeeze(-1), known.entropy.squeeze(-1)  # ln 3 both, nothing
        (tensor([[1.0986, 0.0000]]), tensor([[1.0986, 0.0000]]))
    """
    unembedding = checked_unembedding(hidden, lm_head_weight, targets, bias, logit_scale, softcap)
    rows = kept_rows((targets != IGNORED).to(working_dtype(hidden)), targets)
    learns = any(x is not None and x.requires_grad for x in (lm_head_weight, bias))
    wanted = (torch.is_grad_enabled() and hidden.requires_grad and not learns, False, False)
    whole, top20 = (torch.empty_like(rows.weights) if asked else None for asked in (entropy, entropy_top20))
    flat = hidden.detach().reshape(-1, hidden.shape[-1])
    nll, gradients = chunked(flat, unembedding, rows, wanted, chunk_size=None, entropies=(whole, top20))
    return MTPLikelihoods(
        scattered(nll, rows, targets.shape),
        None if whole is None else scattered(whole, rows, targets.shape),
        None if top20 is None else scattered(top20, rows, targets.shape),
        gradients.hidden,
        _identity(hidden, targets, unembedding),
    )


def mtp_nll(
    hidden: Shaped[Tensor, "batch seq n_future dim"],
    lm_head_weight: Shaped[Tensor, "vocab dim"],
    targets: Shaped[Tensor, "batch seq n_future"],
    *,
    bias: Shaped[Tensor, " vocab"] | None = None,
    logit_scale: float = 1.0,
    softcap: float | None = None,
) -> Float[Tensor, "batch seq n_future"]:
    """Negative log-likelihood of every target, without gradient and without holding the logits.

        nll[b, t, k] = -log softmax(logits[b, t, k])[targets[b, t, k]],  0 where the target is -100

    Logits and arguments as for `weighted_mtp_loss`; nats. Rows with target -100 are not read. This is the surprisal
    that Rho-1 selects by, and the log-probability that generative critics compare.

    Source: Lin et al. 2024, Rho-1, arXiv 2404.07965 (its reference and training losses per token).

    Examples:
        >>> hidden, unembedding = torch.zeros(1, 2, 1, 2), torch.zeros(3, 2)
        >>> mtp_nll(hidden, unembedding, torch.tensor([[[0], [-100]]])).squeeze(-1)  # ln 3, nothing
        tensor([[1.0986, 0.0000]])
    """
    with torch.no_grad():
        return mtp_likelihoods(hidden, lm_head_weight, targets, bias=bias, logit_scale=logit_scale, softcap=softcap).nll


def require_same_predictions(known: MTPLikelihoods, hidden: Tensor, targets: Tensor, unembedding: Unembedding) -> None:
    """Raises ValueError where likelihoods belong to other tensors, or to what stood in these before."""
    require_shape("likelihoods.nll", known.nll, tuple(targets.shape))
    if known.made_of != _identity(hidden, targets, unembedding):
        raise ValueError(
            "likelihoods were made of other hidden states, targets, logit_scale or softcap, or before these were "
            "changed in place; make them by mtp_likelihoods from the very arguments of the loss"
        )


def _identity(hidden: Tensor, targets: Tensor, unembedding: Unembedding) -> tuple[object, ...]:
    """The unembedding's weight is left out: one that is gathered from shards lies somewhere else each time."""
    tensors = [(x.data_ptr(), x._version if not x.is_inference() else 0) for x in (hidden, targets)]
    return *tensors, unembedding.logit_scale, unembedding.softcap


def from_likelihoods(known: MTPLikelihoods, otherwise: Backend) -> Backend:
    """The backend that reads what is known of the predictions, and asks another for gradients that are not."""

    def compute(
        hidden: Tensor, unembedding: Unembedding, rows: Rows, wanted: tuple[bool, bool, bool]
    ) -> tuple[Tensor, Gradients]:
        if any(wanted[1:]) or (wanted[0] and known.slope is None):
            return otherwise(hidden, unembedding, rows, wanted)
        nll = known.nll.flatten().index_select(0, rows.positions)
        if not wanted[0] or known.slope is None:
            return nll, Gradients(None, None, None)
        weighted = known.slope.index_select(0, rows.positions).mul_(rows.weights[:, None])
        # rows that were dropped may hold NaN: they are not multiplied by 0, but left out
        return nll, Gradients(torch.zeros_like(known.slope).index_copy_(0, rows.positions, weighted), None, None)

    return compute


def checked_unembedding(
    hidden: Tensor, weight: Tensor, targets: Tensor, bias: Tensor | None, logit_scale: float, softcap: float | None
) -> Unembedding:
    """How hidden states become logits, after a look at what was given."""
    require_shape("hidden", hidden, (None, None, None, None))
    require_floats("hidden", hidden)
    require_shape("lm_head_weight", weight, (None, hidden.shape[-1]))
    require_floats("lm_head_weight", weight)
    require_shape("targets", targets, tuple(hidden.shape[:3]))
    require_integers("targets", targets)
    if bias is not None:
        require_shape("bias", bias, (weight.shape[0],))
    require_number("logit_scale", logit_scale)
    if softcap is not None:
        require_number("softcap", softcap, above=0.0)
    return Unembedding(weight, bias, logit_scale, softcap)


def kept_rows(row_weights: Tensor, targets: Tensor) -> Rows:
    """Rows with a weight (NaN included), in order."""
    flat = row_weights.flatten()
    positions = flat.nonzero().squeeze(1)  # the one host synchronisation
    kept_targets = targets.flatten().index_select(0, positions).long()
    return Rows(positions, kept_targets, flat.index_select(0, positions))


def scattered(kept: Tensor, rows: Rows, shape: torch.Size) -> Tensor:
    """Values of the kept rows in their places, 0 elsewhere."""
    return kept.new_zeros(shape.numel()).index_copy_(0, rows.positions, kept).view(shape)
