"""Metrics between two log entries: sums and mergeable moments on the device, floats only when they are logged, so that
micro-batches, steps and ranks combine exactly: the entropy of eight ranks' weights is no mean of eight."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.metrics import roc_auc_score
from torch import Tensor

from weighted_mtp.data import NO_ROW, is_right
from weighted_mtp.losses import MTPLossOutput
from weighted_mtp.training.batch import BatchCounts, TokenBatch
from weighted_mtp.value_weighting import (
    Moments,
    Signals,
    WeightingScheme,
    clip_fraction,
    merge_moments,
    moments,
    td_stats,
    weight_stats,
)

_SCALARS = ("input_tokens", "predictions", "lm", "value", "value_count", "clipped", "clippable")
_PER_HEAD = ("nll", "computed", "weighted_nll", "weight_sum")
_MOMENTS = ("td", "weight", "reward", "residual")
_PARTS = 64  # batches whose moments wait to be merged


def auc_error(auc: float, n_positive: int, n_negative: int) -> float:
    """Standard error of an AUC of so many positives and negatives, both at least 1.

        variance = (A (1 - A) + (P - 1) (A / (2 - A) - A^2) + (N - 1) (2 A^2 / (1 + A) - A^2)) / (P N)

    Source: Hanley and McNeil 1982, "The meaning and use of the area under a ROC curve", equation 1, with their
    exponential model of the scores.

    Examples:
        >>> round(auc_error(0.84, 192, 608), 4), auc_error(1.0, 3, 4)
        (0.0187, 0.0)
    """
    positives = (n_positive - 1) * (auc / (2 - auc) - auc**2)
    negatives = (n_negative - 1) * (2 * auc**2 / (1 + auc) - auc**2)
    return math.sqrt(max(0.0, auc * (1 - auc) + positives + negatives) / (n_positive * n_negative))


class MetricWindow:
    """Sums since the last log entry, on the device in float64, or float32 where it has no other (mps)."""

    def __init__(self, n_future: int, device: torch.device, keeps_outcomes: bool = False) -> None:
        self.n_future, self.device, self.keeps_outcomes = n_future, device, keeps_outcomes
        self._auc: dict[str, float] = {}
        self.dtype = torch.float32 if device.type == "mps" else torch.float64
        self.reset()

    def reset(self) -> None:
        """Empties the window. Its layout is fixed, so that a process without a batch still takes part."""
        zeros = partial(torch.zeros, dtype=self.dtype, device=self.device)
        self._sums = {name: zeros(1) for name in _SCALARS} | {name: zeros(self.n_future) for name in _PER_HEAD}
        self._moments: dict[str, list[Moments]] = {name: [moments(zeros(0))] for name in _MOMENTS}
        self._outcomes: list[Tensor] = []

    def add(
        self,
        batch: TokenBatch,
        signals: Signals,
        weights: Tensor,
        lm: MTPLossOutput,
        counts: BatchCounts,
        scheme: WeightingScheme,
        head_weights: Sequence[float],
    ) -> None:
        """Adds one micro-batch: predictions, weights and, where the stage has values, TD errors."""
        valid = batch.valid
        computed = _of_read_heads((valid & (weights != 0)).sum((0, 1)), head_weights)
        self._add("input_tokens", batch.input_tokens())
        self._add("predictions", valid.sum())
        self._add("lm", lm.loss.detach() * counts.predictions)
        self._add("nll", lm.ce_per_head * computed)
        self._add("computed", computed)
        self._add("weighted_nll", lm.weighted_ce_per_head * lm.weight_sum)
        self._add("weight_sum", _of_read_heads(lm.weight_sum, head_weights))
        self._merge("weight", moments(weights, valid))
        bounds = scheme.clip_bounds()
        if bounds is not None:
            self._add("clipped", clip_fraction(weights, valid, *bounds) * valid.sum())
            self._add("clippable", valid.sum())
        if self.keeps_outcomes and signals.values is not None:
            self._add_outcomes(batch, signals.values, signals.credit)
        if signals.values is not None and signals.rewards is not None:
            self._merge("td", moments(signals.td_errors, batch.mask))
            self._merge("reward", moments(signals.returns, batch.mask))
            self._merge("residual", moments(signals.returns - signals.values, batch.mask))

    def add_value_loss(self, value_loss: Tensor, normalizer: Tensor, count: Tensor) -> None:
        """Adds one micro-batch's value loss: it was divided by the global `normalizer`, and covers `count` terms."""
        self._add("value", value_loss.detach() * normalizer)
        self._add("value_count", count)

    def _add_outcomes(self, batch: TokenBatch, values: Tensor, credit: Tensor | None) -> None:
        """Adds what the last value, or the first and all credit, says of each row, and its outcome."""
        at = batch.mask.long() * torch.arange(batch.mask.shape[1], device=self.device)
        if credit is None:
            said = values.gather(1, at.argmax(1, keepdim=True))[:, 0]
        else:
            first = values.gather(1, batch.mask.long().argmax(1, keepdim=True))[:, 0]
            said = torch.where(batch.mask, credit, 0.0).sum(1) + first.logit(1e-6)
        counted = batch.mask.any(1) & (batch.row_ids != NO_ROW)
        self._outcomes.append(torch.stack([said, is_right(batch.rewards), counted]).to(self.dtype))

    def _outcome_auc(self) -> dict[str, float]:
        """AUC of the outcome by what was added, of all processes, and its error; nothing where all came to the same."""
        if not self._outcomes:
            return {}
        found = [torch.cat(self._outcomes, 1).cpu()]
        if torch.distributed.is_initialized():
            found = found * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(found, found[0])
        said, right, counted = torch.cat(found, 1).numpy()
        said, right = said[counted > 0], right[counted > 0] > 0
        if right.all() or not right.any() or not np.isfinite(said).all():
            return {}
        found_auc, n_right = float(roc_auc_score(right, said)), int(right.sum())
        return {"outcome_auc": found_auc, "outcome_auc_error": auc_error(found_auc, n_right, len(right) - n_right)}

    def state(self) -> Float[Tensor, "processes numbers"]:
        """All sums and moments of every process, on the device: one fused reduction. Outcomes are ranked here."""
        self._auc = self._outcome_auc()
        return _gather(
            torch.cat(
                [s.reshape(-1) for s in self._sums.values()]
                + [torch.stack(list(merge_moments(*parts))).to(self.dtype) for parts in self._moments.values()]
            )
        )

    def named(self, state: Float[Tensor, "processes numbers"], value_coef: float = 0.0) -> dict[str, float]:
        """Floats under the names of the mission, from a `state` that was copied to the host; none for an empty window.

        `objective` is the language-model loss (its coefficient is in the head weights) + value_coef * value loss.
        """
        sizes = [s.numel() for s in self._sums.values()] + [len(Moments._fields)] * len(self._moments)
        parts = state.split(sizes, dim=1)
        sums = {name: part.sum(0) for name, part in zip(self._sums, parts, strict=False)}
        merged = {
            name: merge_moments(*(Moments(*rank.unbind()) for rank in part))
            for name, part in zip(self._moments, parts[len(sums) :], strict=True)
        }
        return {} if not sums["input_tokens"] else _named(sums, merged, self.n_future, value_coef) | self._auc

    def state_dict(self) -> dict[str, Any]:
        """This process's sums, for a checkpoint."""
        for parts in self._moments.values():
            parts[:] = [merge_moments(*parts)]
        return {"sums": self._sums, "moments": {name: tuple(parts[0]) for name, parts in self._moments.items()}}

    def load_state_dicts(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Fills an empty window with the sums of one process or several."""
        for state in states:
            for name, value in state["sums"].items():
                self._add(name, value.to(self.device))
        for name in self._moments if states else ():
            self._moments[name] = [Moments(*(x.to(self.device) for x in state["moments"][name])) for state in states]

    def _add(self, name: str, value: Tensor) -> None:
        self._sums[name] = self._sums[name] + value.detach().to(self.dtype)

    def _merge(self, name: str, new: Moments) -> None:
        # merged once for many batches: a merge launches as many kernels as the moments of a batch
        parts = self._moments[name]
        parts.append(new)
        if len(parts) == _PARTS:
            parts[:] = [merge_moments(*parts)]


def _gather(flat: Tensor) -> Tensor:
    """[processes, n]: every process's sums, in one collective."""
    if not torch.distributed.is_initialized():
        return flat[None]
    gathered = [torch.empty_like(flat) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(gathered, flat)
    return torch.stack(gathered)


def _of_read_heads(per_head: Tensor, head_weights: Sequence[float]) -> Tensor:
    """[n_future], 0 for heads of weight 0; from floats on the host, so without a copy to the device."""
    entries = zip(per_head.unbind(), head_weights, strict=True)
    return torch.stack([entry if weight else torch.zeros_like(entry) for entry, weight in entries])


def _ratio(numerator: Tensor, denominator: Tensor) -> float:
    return float(numerator / denominator) if float(denominator) else 0.0


def _named(
    sums: Mapping[str, Tensor], merged: Mapping[str, Moments], n_future: int, value_coef: float
) -> dict[str, float]:
    named = {"objective": _ratio(sums["lm"].sum(), sums["predictions"].sum())}
    if sums["weight_sum"].any():
        named["weighted_ce"] = _ratio(sums["weighted_nll"].sum(), sums["weight_sum"].sum())
    for k in range(n_future):
        if sums["computed"][k]:
            named[f"ce_head_{k}"] = _ratio(sums["nll"][k], sums["computed"][k])
    if sums["value_count"]:
        named["value_loss"] = _ratio(sums["value"].sum(), sums["value_count"].sum())
        named["objective"] += value_coef * named["value_loss"]
    if merged["td"].count:
        named |= {name: float(x) for name, x in td_stats(merged["td"]).items()}
        if merged["reward"].m2:  # rewards that are all alike have no variance to explain
            named["value_explained_variance"] = 1.0 - _ratio(merged["residual"].m2, merged["reward"].m2)
    named |= {name: float(x) for name, x in weight_stats(merged["weight"]).items()}
    if sums["clippable"]:
        named["weight_clip_fraction"] = _ratio(sums["clipped"].sum(), sums["clippable"].sum())
    named["input_tokens"] = float(sums["input_tokens"].sum())
    return named
