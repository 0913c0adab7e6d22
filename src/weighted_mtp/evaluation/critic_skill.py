"""What a critic knows of the outcome beyond the prompt and the length, with intervals over prompts, and in words: asked
on completions of prompts that it was not trained on, since on its own rows any critic knows much."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from weighted_mtp.evaluation.intervals import RESAMPLES, Interval, percentile_interval
from weighted_mtp.evaluation.measured import nearest
from weighted_mtp.evaluation.ranking import mean_of_others, pairs_by_group

Floats = NDArray[np.float64]
FEW = 20
"""Right rows, wrong rows and prompts below which nothing is said; pairs below which AUC is over all rows."""
PRIOR_ROWS = tuple(2.0**i for i in range(-1, 13))
"""What the overall share may weigh in a prompt's own rate, in rows."""
_MEASURED = ("auc", "within_prompts", "prompt_log_loss", "log_loss", "explained", "slope")
_STEPS = 30
_RIDGE = 1e-2


@dataclass(frozen=True)
class CriticSkill:
    """What a critic's word on whole completions is worth; intervals hold 95 %, by a bootstrap over prompts."""

    rows: int
    prompts: int
    share_right: float
    auc: Interval
    """AUC of the outcome by the critic's log-odds, over the pairs of a right and a wrong completion of one prompt."""
    within_prompts: bool
    """Whether it is; False: there are too few such pairs, and it is over all pairs."""
    prompt_log_loss: float
    """Of the prompt's own rate, in nats a row."""
    log_loss: float
    """The same with length and the critic's log-odds, calibrated."""
    explained: Interval
    """Share of the outcome's deviance that the critic explains beyond prompt and length, in [0, 1]."""
    slope: Interval
    """Calibration slope: what the critic's log-odds are to be multiplied by; 1 is calibrated, 0 knows nothing."""
    known: bool
    """Whether there were rows enough to tell."""
    log_loss_interval: Interval | None = None
    """Of `log_loss`."""
    own_samples: bool = False
    """Whether the model that the critic was trained from wrote the rows, as far as they say (see `own_samples_by`)."""

    @property
    def orders(self) -> bool:
        """Whether it is known to order completions, and not prompts alone."""
        return (self.slope.low or 0.0) > 0 and ((self.auc.low or 0.0) > 0.5 or not self.within_prompts)

    @property
    def gate(self) -> float:
        """How far weights may trust the critic, s of scheme `gated`: the lower bound of sqrt(explained)."""
        return math.sqrt(self.explained.low or 0.0) if self.orders else 0.0

    @property
    def verdict(self) -> str:
        """In words, by a fixed rule on the intervals."""
        low, high = self.slope.low, self.slope.high
        if not self.known or low is None or high is None:
            return (
                f"what this critic knows cannot be told from {self.rows} rows of {self.prompts} prompts, "
                f"{self.share_right:.0%} right: give {FEW} right ones, {FEW} wrong ones and {FEW} prompts at least"
            )
        if high < 0:
            return f"this critic orders completions the wrong way round (AUC {self.auc.mean:.2f}): do not weigh by it"
        if not self.orders:
            return "this critic knows nothing beyond the share of right rows"
        least, most = (_percent(x or 0.0) for x in (self.explained.low, self.explained.high))
        said = (
            f"this critic orders completions (AUC {self.auc.mean:.2f}) and explains {_percent(self.explained.mean)} %"
        )
        said += f" of the outcome [{least}, {most}]"
        if high < 0.8:
            return f"{said}; its log-odds are {1 / self.slope.mean:.1f} times too large"
        return f"{said}; its log-odds are {self.slope.mean:.1f} times too small" if low > 1.25 else said

    @property
    def advice(self) -> str:
        """What to train with, by the same rule, and the numbers that it rests on."""
        all_rows = self.rows / max(1, self.prompts)
        gated = "scheme gated (--scheme gated --scheme_options '{}')"  # where a config names another scheme
        learned = f"{self.share_right:.0%} of the rows, {self.share_right * all_rows:.1f} of {all_rows:.1f} a prompt"
        if self.own_samples and self.gate:
            return (
                "these rows are a model's own samples, where mixing did worse than keep: right; "
                f"{gated} is that there, and learns {learned}"
            )
        known = f"trusts this critic by {self.gate:.2f}; compare with" if self.gate else "learns from it no more than"
        said = f"{gated} {known} keep: right, which learns {learned}"
        return f"{said}: the most that credit can add lies in the others"

    @property
    def numbers(self) -> str | None:
        """What the verdict rests on beside what it says; None where nothing is known."""
        loss, slope = self.log_loss_interval, self.slope
        if not self.known or loss is None:
            return None
        pairs = "within prompts" if self.within_prompts else "over all rows"
        return (
            f"AUC {pairs} {self.auc.mean:.2f} [{self.auc.low:.2f}, {self.auc.high:.2f}]; "
            f"log-loss {self.prompt_log_loss:.3f} by the prompt's own rate, {self.log_loss:.3f} with the critic "
            f"[{loss.low:.2f}, {loss.high:.2f}]; calibration slope {slope.mean:.2f} [{slope.low:.2f}, {slope.high:.2f}]"
        )

    @property
    def lines(self) -> list[str]:
        """All that is said of it: the verdict, the advice, and where they are known its numbers and what was measured
        on rows like these."""
        said = [self.verdict, self.numbers, f"advice: {self.advice} (docs/which-scheme.md)"]
        near = nearest(self.own_samples, self.rows, self.share_right, mixed=self.gate > 0) if self.known else None
        return [*filter(None, [*said, near])]

    def as_dict(self) -> dict[str, Any]:
        """Plain types that JSON can hold; None for what was not measured."""
        unknown = {} if self.known else dict.fromkeys(_MEASURED)
        return {"verdict": self.verdict, "advice": self.advice, "gate": self.gate, **asdict(self), **unknown}


def skill_of_few(outcomes: ArrayLike, prompts: ArrayLike) -> CriticSkill | None:
    """What is known of any critic of too few rows [N] to tell, whatever it says; None where there are enough.

    Examples:
        >>> skill_of_few([1.0, 0.0], ["a", "b"]).verdict.partition(": give")[0]
        'what this critic knows cannot be told from 2 rows of 2 prompts, 50% right'
        >>> skill_of_few([1.0, 0.0] * 20, range(40)) is None
        True
    """
    right = np.asarray(outcomes, np.float64) > 0.5
    n, n_prompts = right.size, len(np.unique(np.asarray(prompts)))
    if min(right.sum(), n - right.sum(), n_prompts) >= FEW:
        return None
    nothing = Interval(0.0, None, None)
    share = float(right.mean()) if n else 0.0
    return CriticSkill(n, n_prompts, share, Interval(0.5, None, None), False, 0.0, 0.0, nothing, nothing, False)


def critic_skill(
    log_odds: ArrayLike, outcomes: ArrayLike, prompts: ArrayLike, lengths: ArrayLike, *, seed: int = 0
) -> CriticSkill:
    """Does a critic tell right from wrong where prompt and length do not? All [N], a completion each.

        r_i = (right others of the prompt + k pi) / (others of the prompt + k),   pi = share of right rows
        P(right) = sigmoid(logit r_i + a + b ln length_i + c m_i + slope L_i)
        m_i = mean L of the others of the prompt, of all rows where there are none
        explained = 1 - deviance / deviance of the same without L_i and with c >= 0,   0 where slope <= 0

    with the k whose r has the least log-loss. So neither a hard prompt nor a long completion counts as the critic's
    knowledge. Outcomes enter r_i without the row's own, and m_i not at all; logit r_i has no coefficient, since a
    fitted one (as a negative c) would read a row's outcome off those of its prompt. The others are fitted by logistic
    regression with that offset, which scikit-learn's has not, once for each of 300 resamples of the prompts.

    Source: McFadden 1974, "Conditional logit analysis of qualitative choice behavior", for the share of deviance
    explained; Cox 1958, "Two further applications of a model for binary regression", for the calibration slope; Field
    and Welsh 2007, "Bootstrapping clustered data".

    `log_odds` of success after the whole completion are up to a constant; lengths are in tokens, at least 1.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> truth = rng.normal(size=2000)
        >>> right = rng.random(2000) < expit(truth)
        >>> skill = critic_skill(truth, right, np.arange(2000) // 4, np.ones(2000))
        >>> skill.verdict
        'this critic orders completions (AUC 0.74) and explains 14 % of the outcome [12, 16]'
        >>> critic_skill(rng.permutation(truth), right, np.arange(2000) // 4, np.ones(2000)).verdict
        'this critic knows nothing beyond the share of right rows'
    """
    given = np.asarray(log_odds, np.float64), np.asarray(outcomes, np.float64) > 0.5
    log_l, (scores, right) = np.log(np.asarray(lengths, np.float64)), given
    prompt = np.unique(np.asarray(prompts), return_inverse=True)[1]
    if not scores.shape == right.shape == prompt.shape == log_l.shape or scores.ndim != 1:
        raise ValueError(f"log-odds {scores.shape}, outcomes {right.shape}, prompts {prompt.shape}: [N] is needed")
    if not np.isfinite(scores).all():
        raise ValueError(f"{(~np.isfinite(scores)).sum()} of {scores.size} log-odds are not finite")
    if (unknown := skill_of_few(right, prompt)) is not None:
        return unknown
    y, n, n_prompts = right.astype(np.float64), len(scores), int(prompt.max()) + 1
    share = float(y.mean())
    others = np.bincount(prompt)[prompt] - 1.0
    found_right = np.bincount(prompt, y)[prompt] - y
    rates = ((found_right + k * share) / (others + k) for k in PRIOR_ROWS)
    rate, prompt_log_loss = min(((r, -np.log(np.where(right, r, 1 - r)).mean()) for r in rates), key=lambda one: one[1])
    m = mean_of_others(scores, np.ones(n), prompt, alone=scores.mean())
    known = np.stack([np.ones(n), _standard(log_l)], 1)
    x = scores - known @ np.linalg.lstsq(known, scores)[0]  # its coefficient is that of L
    scale = x.std() if x.std() > 1e-6 * scores.std() else math.inf  # nothing is left but rounding
    features = np.concatenate([known, _standard(m)[:, None], x[:, None] / scale], 1)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n_prompts, np.full(n_prompts, 1 / n_prompts), size=RESAMPLES)
    counts = np.concatenate([np.ones((1, n_prompts)), drawn])  # the rows as they are come first
    fit = partial(_fit, y=y, offset=logit(rate))
    per, found = max(1, 4_000_000 // n), []
    for start in range(0, len(counts), per):
        of_rows = counts[start : start + per, prompt].astype(np.float64)
        (_, plain), (prompts_only, without), (coefficients, deviance) = (
            fit(features[:, :d], of_rows) for d in (2, 3, 4)
        )
        without = np.where(prompts_only[:, 2] > 0, without, plain)
        explained = np.where(coefficients[:, -1] > 0, np.maximum(0.0, 1 - deviance / without), 0.0)
        found.append(np.stack([explained, coefficients[:, -1] / scale, deviance / of_rows.sum(1)], 1))
    explained, slope, log_loss = np.concatenate(found).T
    pairs, won = pairs_by_group(scores, right, prompt)
    within = bool(pairs.sum() >= FEW and (pairs > 0).sum() >= FEW)
    auc = (
        (counts @ won) / np.maximum(counts @ pairs, 1e-9)
        if within
        else _auc(scores, y, counts[:, prompt].astype(float))
    )
    return CriticSkill(
        rows=n,
        prompts=n_prompts,
        share_right=share,
        auc=percentile_interval(auc),
        within_prompts=within,
        prompt_log_loss=float(prompt_log_loss),
        log_loss=float(log_loss[0]),
        explained=percentile_interval(explained),
        slope=percentile_interval(slope),
        known=True,
        log_loss_interval=percentile_interval(log_loss),
    )


def _standard(x: Floats) -> Floats:
    return (x - x.mean()) / (x.std() or 1.0)


def _fit(x: Floats, counts: Floats, y: Floats, offset: Floats) -> tuple[Floats, Floats]:
    """Logistic regressions of the rows, each counted so often [R, N]: coefficients [R, d] and deviances / 2 [R], by
    Newton's method, with a ridge of a hundredth of a row that keeps them finite where the classes are separated."""
    n, d = x.shape
    squares = (x[:, :, None] * x[:, None, :]).reshape(n, d * d)
    start = np.zeros((1, d)) if len(counts) == 1 else _fit(x, np.ones((1, n)), y, offset)[0]
    coefficients = np.repeat(start, len(counts), 0)
    for _ in range(_STEPS):
        p = expit(offset + coefficients @ x.T)
        hessian = ((counts * p * (1 - p)) @ squares).reshape(-1, d, d) + _RIDGE * np.eye(d)
        step = np.linalg.solve(hessian, ((counts * (y - p)) @ x - _RIDGE * coefficients)[..., None])[..., 0]
        coefficients += step.clip(-2.0, 2.0)
        if np.abs(step).max() < 1e-6:
            break
    eta = offset + coefficients @ x.T
    return coefficients, (counts * np.logaddexp(0.0, np.where(y > 0.5, -eta, eta))).sum(1)


def _auc(scores: Floats, y: Floats, counts: Floats) -> Floats:
    """AUC over all rows, each counted so often [R, N]."""
    order = np.argsort(scores, kind="stable")
    starts = np.unique(scores[order], return_index=True)[1]
    positive, negative = (np.add.reduceat(counts[:, order] * z[order], starts, axis=1) for z in (y, 1 - y))
    won = (positive * (negative.cumsum(1) - negative / 2)).sum(1)
    return won / np.maximum(positive.sum(1) * negative.sum(1), 1e-9)


def _percent(share: float) -> str:
    return f"{100 * share:.0f}" if share >= 0.1 or share == 0 else f"{100 * share:.2g}"


def log_odds_of_row(row: Mapping[str, Any]) -> float:
    """What the critic says of a scored row in the end: the prompt's log-odds and all credit, else the last value's.

    Examples:
        >>> log_odds_of_row({"values": [0.5, 0.6], "credit": [1.0, -3.0], "p_success": 0.12})
        -2.0
        >>> round(log_odds_of_row({"values": [0.5, 0.6], "p_success": 0.6}), 3)
        0.405
    """
    first = row["values"][0] if row.get("credit") else row["p_success"]
    return float(logit(np.clip(first, 1e-6, 1 - 1e-6))) + sum(row.get("credit") or ())
