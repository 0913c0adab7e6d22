"""Who finds the wrong token, and who knows right from wrong: scores of unseen tasks, intervals over tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from research.real_code.rows import FOLDS, kind_of_bug
from research.real_code.task_intervals import PairCounts, percentile_interval, ratio_under, task_draws
from research.real_code.tokens import Completions, Numbers
from weighted_mtp.evaluation.calibration import brier, expected_calibration_error, reliability
from weighted_mtp.evaluation.localisation import first_errors, hits_at_first_error

RESAMPLES = 2_000


def cross_fitted(
    features: Sequence[Numbers],
    positives: NDArray[np.bool_],
    folds: NDArray[np.int64],
    fit_on: NDArray[np.bool_] | None = None,
) -> Numbers:
    """P(positive) by a logistic fit on the other folds, for every element.

        p[i] = sigmoid(w_f . z[i] + b_f),   f the fold of i; w_f, b_f fitted on the elements of all folds but f

    Features are standardised by mean and deviation of the same elements; the fit is ridge-penalised (C = 1), which for
    thousands of elements and a handful of features changes nothing. A critic's scores come from the fold that it was
    not trained on, here too: this is stacking (Wolpert 1992, "Stacked generalization"). What little leaks goes through
    the few coefficients, since the critics whose scores they are fitted on were trained on fold f as well.

    Args:
        features: one flat array each, of the same length.
        positives: True where an element is positive.
        folds: the fold of each element.
        fit_on: True where an element may be fitted on; None: all.
    """
    x, fitted = np.stack(features, axis=1), np.empty(len(positives))
    usable = np.ones(len(positives), np.bool_) if fit_on is None else fit_on
    for fold in range(FOLDS):
        held_out = folds == fold
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
        model.fit(x[~held_out & usable], positives[~held_out & usable])
        fitted[held_out] = model.predict_proba(x[held_out])[:, 1]
    return fitted


Resampled = tuple[float, Numbers]
"""A statistic, and what it is in each resample of tasks."""


class Judge:
    """Judges scores of tokens and of completions on the same resamples of tasks, so that differences are paired.

    Args:
        completions: the rows; all of them were scored by models that did not see their tasks.
        sources: names of the sources whose rows are judged; None: all.
        kind: of the bug, whose rows are judged; None: all, right rows too.
    """

    def __init__(self, completions: Completions, sources: Sequence[str] | None = None, kind: str | None = None) -> None:
        self.completions = completions
        self.taken = np.array([
            (sources is None or row["source"] in sources) and kind in (None, kind_of_bug(row))
            for row in completions.rows
        ])  # fmt: skip
        self.task = np.unique(completions.task[self.taken], return_inverse=True)[1]
        self._task_of = np.full(len(self.taken), -1)
        self._task_of[self.taken] = self.task
        self.n_tasks = int(self.task.max()) + 1
        self.draws = task_draws(self.n_tasks, resamples=RESAMPLES)

    def localisation(self, suspicion: Mapping[str, Numbers], against: Sequence[str]) -> dict[str, Any]:
        """AUC and top-1 of each method at finding the first wrong token of wrong completions.

        Args:
            suspicion: by method, [n] over all tokens, high where a token is suspected.
            against: methods that each other one is compared with, by paired differences.

        Returns:
            By method: auc, top1, and the differences `auc_over`, `top1_over`, each with its interval over tasks.
        """
        c = self.completions
        error, mask = c.padded(c.wrong_token), c.padded(c.sought & self.taken[c.row_of])
        first = first_errors(error, mask)
        rows = np.any(first, axis=1)  # where the span is within the first token, nothing can be found
        mask &= rows[:, None]
        compared = mask & (first | ~error)  # no verdict about later wrong tokens is right or wrong
        task = np.broadcast_to(self._task_of[:, None], mask.shape)[compared]
        measured: dict[str, dict[str, Resampled]] = {}
        for name, scores in suspicion.items():
            s = c.padded(scores)
            pairs = PairCounts.of(s[compared], first[compared], task, self.n_tasks)
            assert pairs.auc is not None, "every task has a wrong row"
            measured[name] = {
                "auc": (pairs.auc, pairs.auc_under(self.draws)),
                "top1": self._mean(self._task_of[rows], hits_at_first_error(-s, error, mask)[rows]),
            }
        return self.with_intervals(measured, against)

    def outcome(self, belief: Mapping[str, Numbers], against: Sequence[str]) -> dict[str, Any]:
        """AUC of each method at telling right from wrong completions, over all pairs and within tasks.

        Args:
            belief: by method, [N] over all completions, high where one is believed right.
            against: as in `localisation`.
        """
        measured = {name: self.right_over_wrong(scores) for name, scores in belief.items()}
        return self.with_intervals(measured, against)

    def right_over_wrong(self, scores: Numbers) -> dict[str, Resampled]:
        """How often a right completion scores above a wrong one: of all pairs, and of the pairs of one task."""
        right = self.completions.right[self.taken]
        pairs = PairCounts.of(scores[self.taken], right, self.task, self.n_tasks)
        assert pairs.auc is not None, "every task has right and wrong rows"
        assert pairs.auc_within is not None, "every task has right and wrong rows"
        return {
            "auc": (pairs.auc, pairs.auc_under(self.draws)),
            "auc_within": (pairs.auc_within, pairs.auc_within_under(self.draws)),
        }

    def mean_of_tokens(self, tokens: Numbers, at: NDArray[np.bool_]) -> Resampled | None:
        """Mean of [n] over some tokens of the rows that are judged; None where there are none."""
        taken = at & self.taken[self.completions.row_of]
        if not taken.any():
            return None
        task = self._task_of[self.completions.row_of[taken]]
        return self._mean(task, tokens[taken])

    def mean_of_tasks(self, by_task: Mapping[str, float]) -> Resampled | None:
        """Mean of one number a task, over those of the judged tasks that have one; None where none has."""
        numbers = {row["task_id"]: task for row, task in zip(self.completions.rows, self._task_of, strict=True)}
        named = {numbers[name]: float(x) for name, x in by_task.items() if numbers.get(name, -1) >= 0}
        if not named:
            return None
        return self._mean(np.array(list(named), np.int64), np.array(list(named.values())))

    def _mean(self, task: NDArray[np.int64], x: Numbers) -> Resampled:
        sums, counts = np.bincount(task, x, minlength=self.n_tasks), np.bincount(task, minlength=self.n_tasks)
        return float(sums.sum() / counts.sum()), ratio_under(sums, counts, self.draws)

    def calibration(self, values: Numbers) -> dict[str, Any]:
        """Of probabilities [N] that a completion is right: expected calibration error, Brier score, and the bins."""
        v, right = values[self.taken], self.completions.right[self.taken]
        return {
            "ece": expected_calibration_error(v, right),
            "brier": brier(v, right),
            "reliability": [asdict(b) for b in reliability(v, right)],
        }

    def with_intervals(self, measured: Mapping[str, Mapping[str, Resampled]], against: Sequence[str]) -> dict[str, Any]:
        """By method, each statistic with its interval, and `..._over` with that of its difference to some methods."""
        found: dict[str, Any] = {}
        for name, statistics in measured.items():
            found[name] = {kind: asdict(percentile_interval(x, drawn)) for kind, (x, drawn) in statistics.items()}
            for other in against:
                for kind, (x, drawn) in statistics.items():
                    if other != name and kind in measured[other]:
                        y, other_drawn = measured[other][kind]
                        difference = asdict(percentile_interval(x - y, drawn - other_drawn))
                        found[name].setdefault(f"{kind}_over", {})[other] = difference
        return found
