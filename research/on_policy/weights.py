"""Weights of surprisal, and rows drawn by their weights, so that no weightless row fills a batch."""

import math
import shutil
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from research.on_policy.critics import scoring
from research.on_policy.place import Place, Row
from research.weights import gate_by_quarter, mixed_by_quarter, rows_of_folds, whitened_weights
from weighted_mtp.data import load_rows
from weighted_mtp.demo.arms import GENERATIVE, Arm
from weighted_mtp.evaluation.cross_fit import skill_of_scores
from weighted_mtp.training.scoring import score

EVIDENCE = math.log(10) / 2
"""Log-odds from which evidence is called substantial: a Bayes factor of the square root of 10."""
SURE = 0.9
"""Probability from which a token is taken to come before the first wrong one; on one task of the draw outside it
beat the probability itself as a weight."""


def draw(weights: Sequence[Sequence[float]], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of `n` rows, row i on average n m_i / sum(m) times, m_i the mean of its weights.

    Systematic: a row comes the whole part of that often, and once more by chance of the rest.

    Source: Kitagawa 1996, "Monte Carlo filter and smoother", Journal of Computational and Graphical Statistics 5(1).
    """
    means = np.array([float(np.mean(row)) if len(row) else 0.0 for row in weights])
    upto = np.cumsum(means) / means.sum()
    return np.searchsorted(upto, (np.arange(n) + rng.random()) / n, side="right").clip(max=len(means) - 1)


def write_drawn(place: Place, arm: Arm, skill: float) -> str:
    """Writes as many rows as the arm's steps read, drawn by the arm's weights; the name of their file."""
    rows = place.read(arm.rows) if arm.scheme == "column" else _by_credit(place, skill)
    weights = [row["weights"] for row in rows]
    b, name = place.budget, f"{arm.name}_drawn"
    picked = draw(weights, b.steps * b.batch_size, np.random.default_rng(place.seed))
    place.write(name, ({**rows[i], "weights": (np.array(weights[i]) / np.mean(weights[i])).tolist()} for i in picked))
    return name


def write_row_gated(place: Place, critic: str, slope: float) -> str:
    """Writes the rows that are right, or whose outcome the critic's calibrated evidence makes likelier by `EVIDENCE`.

    The latter are weighed by token, w = clip(exp(z), .1, 5), the others have weight 1.

    Source: Jeffreys 1961, "Theory of Probability", appendix B, for the grade of evidence.
    """
    name = f"row_gated-{critic}"
    rows = credited(place, critic)
    weights = whitened_weights([row["credit"] for row in rows])
    for row, w in zip(rows, weights, strict=True):
        explained = slope * sum(row["credit"]) * (1 if row["label"] else -1) >= EVIDENCE
        row["weights"] = w if explained else [float(row["label"])] * len(w)
    place.write(name, [row for row in rows if any(row["weights"])])
    return name


def write_change_point(place: Place, critic: str, slope: float) -> str:
    """Writes the rows that are right, and of the wrong ones what comes before the first wrong token with probability
    `SURE`; none of them where the critic's calibrated evidence is nothing."""
    name = f"change_point-{critic}"
    rows = credited(place, critic)
    for row in rows:
        before = before_change(slope * np.asarray(row["credit"]))
        row["weights"] = [1.0 if row["label"] else float(slope > 0 and p >= SURE) for p in before]
    place.write(name, [row for row in rows if any(row["weights"])])
    return name


def before_change(credit: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(tau > t) for each token t of a wrong row, whose first wrong token is tau.

    Tokens before tau are as those of right rows, the others as those of wrong ones, so that with c_s the log-odds that
    token s adds to being right, P(tau | row) is proportional to exp(sum of c_s over s < tau), of all tau alike before.

    Source: Shiryaev 1963, "On optimum methods in quickest detection problems", Theory Probab. Appl. 8(1).
    """
    before = np.concatenate([[0.0], np.cumsum(credit)[:-1]])
    p = np.exp(before - before.max())
    return np.clip(1 - np.cumsum(p) / p.sum(), 0.0, 1.0)


def write_by_quarter(place: Place) -> str:
    """Writes the rows as `gated` weighs them, but with a skill for each quarter of a completion, measured on folds."""
    name, critic = "gated_by_quarter", GENERATIVE.name
    folds = scoring(place, place.folder / critic, "train", f"folds-{name}", cross_fit=place.budget.folds)
    skill_of_scores(folds, quiet=True)
    gates = gate_by_quarter(rows_of_folds(folds.out, folds.cross_fit))
    shutil.rmtree(folds.out)
    rows = credited(place, critic)
    for row, w in zip(rows, mixed_by_quarter(rows, gates), strict=True):
        row["weights"] = w
    place.write(name, [row for row in rows if any(row["weights"])])
    return name


def _by_credit(place: Place, skill: float) -> list[Row]:
    """The training rows as `gated` weighs them with that skill, 1 of which is `log_odds`; z over all rows."""
    rows = credited(place, GENERATIVE.name)
    for row, w in zip(rows, whitened_weights([row["credit"] for row in rows]), strict=True):
        row["weights"] = [skill * x + (1 - skill) * row["label"] for x in w]
    return rows


def credited(place: Place, critic: str) -> list[Row]:
    """The training rows with the critic's credit."""
    unwhitened = {"scheme": "log_odds", "scheme_options": {"whitening": "none"}}
    config = scoring(place, place.folder / critic, "train", f"{critic}-credit", **unwhitened)
    shutil.rmtree(config.out, ignore_errors=True)
    score(config, quiet=True)
    rows: list[Row] = [dict(row) for row in load_rows(config.out)[0]]
    shutil.rmtree(config.out)
    return rows
