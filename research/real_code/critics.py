"""What each critic says of the tokens of unseen tasks, alone and beside what the untrained model knows already."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from research.real_code.heads import head_values
from research.real_code.judging import Judge, cross_fitted
from research.real_code.rows import FOLDS, kind_of_bug
from research.real_code.tokens import Completions, Numbers
from weighted_mtp.data import load_rows
from weighted_mtp.training.config import RunConfig

SURPRISAL, UNTRAINED_ALL = "surprisal", "surprisal, entropy, position"
LENGTH, OUTCOME_ALL = "length", "surprisal, length"
LEAST_OF_A_KIND = 25
"""Fewer wrong completions of a kind of bug say nothing about it."""


@dataclass(frozen=True)
class Opinion:
    """What a critic says of all rows, each judged by the model that did not see its task."""

    credit: Numbers
    """[n], by how much a token moved its belief, in log-odds or, of a value head, in probability."""
    final: Numbers
    """[N], P(success) after the whole completion."""


def scored_opinion(completions: Completions, folders: Sequence[Path]) -> Opinion:
    """Of a critic whose scores `wmtp score` wrote, a folder for each fold."""
    parts = [load_rows(folder)[0] for folder in folders]
    values = completions.fill([[row["values"] for row in rows] for rows in parts])
    if "credit" not in parts[0][0]:
        return value_opinion(completions, values)
    credit = completions.fill([[row["credit"] for row in rows] for rows in parts])
    prior = logit(values[completions.starts[:-1]])
    return Opinion(credit, expit(prior + np.add.reduceat(credit, completions.starts[:-1])))


def head_opinion(completions: Completions, config: RunConfig, states: NDArray[np.float16]) -> Opinion:
    """Of a value head on the frozen trunk, trained here for every fold."""
    values = np.empty(completions.n_tokens)
    fold_of_token = completions.fold[completions.row_of]
    for fold in range(FOLDS):
        seeded = replace(config, train=replace(config.train, seed=fold))
        values[fold_of_token == fold] = head_values(seeded, completions, states, fold)
    return value_opinion(completions, values)


def value_opinion(completions: Completions, values: Numbers) -> Opinion:
    """Of V before each labelled token: credit is what a token adds to V; EOS, behind which no V is, gets none."""
    last = completions.starts[1:] - 1
    credit = np.diff(values, append=0.0)
    credit[last] = 0.0
    return Opinion(credit, values[last])


def judge_critics(
    completions: Completions,
    suspicion: Mapping[str, Numbers],
    belief: Mapping[str, Numbers],
    sources: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Localisation and outcome of the untrained signals, of each critic, and of both together.

    Args:
        completions: all rows.
        suspicion: see `suspicions`.
        belief: see `beliefs`.
        sources: whose rows are judged; None: all. Logistic fits are on all rows.
    """
    judge = Judge(completions, sources)
    return {
        "tasks": judge.n_tasks,
        "localisation": judge.localisation(suspicion, [SURPRISAL, UNTRAINED_ALL]),
        "outcome": judge.outcome(belief, [OUTCOME_ALL]),
        "calibration": {
            name: judge.calibration(values) for name, values in belief.items() if name not in (SURPRISAL, LENGTH)
        },
    }


def judge_kinds(completions: Completions, suspicion: Mapping[str, Numbers]) -> dict[str, Any]:
    """Localisation by kind of bug, the most frequent first, rare ones left out."""
    counts = Counter(filter(None, map(kind_of_bug, completions.rows)))
    return {
        kind: {
            "completions": count,
            "localisation": Judge(completions, kind=kind).localisation(suspicion, [SURPRISAL, UNTRAINED_ALL]),
        }
        for kind, count in counts.most_common()
        if count >= LEAST_OF_A_KIND
    }


def suspicions(
    completions: Completions, untrained: Mapping[str, NDArray[Any]], critics: Mapping[str, Opinion]
) -> dict[str, Numbers]:
    """[n] by method, high where a token is suspected: signals alone, and logistic fits of several."""
    surprisal, entropy = (np.asarray(untrained[name], np.float64) for name in ("surprisal", "entropy"))
    position = position_features(completions)
    alone = [surprisal, log_of(surprisal)]
    everything = [*alone, entropy, log_of(entropy), *position]
    found = {
        SURPRISAL: surprisal,
        "entropy": entropy,
        "position": fitted_on_sought(completions, position),
        UNTRAINED_ALL: fitted_on_sought(completions, everything),
    }
    for name, opinion in critics.items():
        found[name] = -opinion.credit
        size = np.abs(opinion.credit).mean() or 1.0  # 0 of a critic that never moves
        credit = [opinion.credit, np.arcsinh(opinion.credit / size)]
        found[f"{name} + surprisal"] = fitted_on_sought(completions, [*credit, *alone])
        found[f"{name} + all untrained"] = fitted_on_sought(completions, [*credit, *everything])
    return found


def log_of(nats: Numbers) -> Numbers:
    """The logarithm, from a thousandth of a nat on: a logistic fit is linear in what it gets, and nats are skewed."""
    return np.log(nats + 1e-3)


def position_features(completions: Completions) -> list[Numbers]:
    """Where a token stands: its place from the start (log), and its share of the way to the end."""
    lengths = np.diff(completions.starts)[completions.row_of]
    return [np.log1p(completions.index), completions.index / lengths]


def fitted_on_sought(completions: Completions, features: Sequence[Numbers]) -> Numbers:
    """P(first wrong token) of every token, by a logistic fit on the sought tokens of the other folds."""
    at = completions.sought & (completions.first_wrong | ~completions.wrong_token)
    folds = completions.fold[completions.row_of]
    found = np.zeros(completions.n_tokens)
    found[completions.sought] = cross_fitted(
        [x[completions.sought] for x in features],
        completions.first_wrong[completions.sought],
        folds[completions.sought],
        fit_on=at[completions.sought],
    )
    return found


def beliefs(completions: Completions, surprisal: NDArray[Any], critics: Mapping[str, Opinion]) -> dict[str, Numbers]:
    """[N] by method, high where a completion is believed right."""
    lengths = np.diff(completions.starts).astype(np.float64)
    mean = completions.row_means(surprisal)
    shape = [mean, np.log(lengths)]

    def fitted(features: list[Numbers]) -> Numbers:
        return cross_fitted(features, completions.right, completions.fold)

    found = {SURPRISAL: -mean, LENGTH: -lengths, OUTCOME_ALL: fitted(shape)}
    for name, opinion in critics.items():
        found[name] = opinion.final
        found[f"{name} + {OUTCOME_ALL}"] = fitted([logit(opinion.final.clip(1e-6, 1 - 1e-6)), *shape])
    return found
