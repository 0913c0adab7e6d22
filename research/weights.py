"""Weights of a whitened signal, and how far each quarter of a completion is to be trusted."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from weighted_mtp.data import Row, load_rows
from weighted_mtp.evaluation.cross_fit import FOLDS, skill_of_rows

QUARTERS = 4


def whitened_weights(signal: Sequence[Sequence[float]]) -> list[list[float]]:
    """clip(exp(z), .1, 5), z a token's signal whitened over all rows: its credit, or its log-probability under the
    model that wrote it, which is its surprisal with the sign turned. Of a signal that is the same everywhere z is 0."""
    every = np.concatenate([np.asarray(row) for row in signal])
    mean, std = every.mean(), every.std() if np.ptp(every) else 1.0
    return [np.exp((np.asarray(row) - mean) / std).clip(0.1, 5.0).tolist() for row in signal]


def rows_of_folds(out: str | Path, folds: int) -> list[Row]:
    """What critics of folds said of rows that they were not trained on; `out` is a folder of cross-fitted scores."""
    return [row for scores in sorted(Path(out).glob(f"{FOLDS}/*-of-{folds}/scores")) for row in load_rows(scores)[0]]


def gate_by_quarter(rows: Sequence[Row]) -> list[float]:
    """What scheme `gated` mixes by, given to the quarters of a completion in proportion to what each knows.

        s_q = min(1, s sqrt(4 e_q / (e_1 + ... + e_4))),   q = floor(4 t / T) of token t of T

    s is the gate of the whole credit and e_q the share of the outcome's deviance that the credit of the q-th quarter
    explains by itself, so that the mean of s_q^2 is s^2 where none is cut off. `rows` are scored out of fold, with
    credit; there are none where the folds' rows are too few to tell.
    """
    s = skill_of_rows(rows).gate if rows else 0.0
    if not s:
        return [0.0] * QUARTERS
    explained = [skill_of_rows([_of_quarter(row, q) for row in rows]).explained.mean for q in range(QUARTERS)]
    if not sum(explained):
        return [0.0] * QUARTERS
    return [min(1.0, s * math.sqrt(QUARTERS * e / sum(explained))) for e in explained]


def mixed_by_quarter(rows: Sequence[Row], gates: Sequence[float]) -> list[list[float]]:
    """w_t = s_q clip(exp(z_t), .1, 5) + (1 - s_q) [right], z the credit of the rows whitened over all of them."""
    weights = whitened_weights([row["credit"] for row in rows])
    return [
        [
            s * x + (1 - s) * float(row["label"])
            for x, s in zip(w, map(gates.__getitem__, quarters(len(w))), strict=True)
        ]
        for row, w in zip(rows, weights, strict=True)
    ]


def quarters(length: int) -> list[int]:
    """The quarter of each token of a completion.

    >>> quarters(6)
    [0, 0, 1, 2, 2, 3]
    """
    return [QUARTERS * t // length for t in range(length)]


def _of_quarter(row: Row, quarter: int) -> Row:
    """The row as a critic would score it that reads nothing but one quarter."""
    credit = sum(c for c, q in zip(row["credit"], quarters(len(row["credit"])), strict=True) if q == quarter)
    return {**row, "values": [0.5] * len(row["values"]), "credit": [credit]}
