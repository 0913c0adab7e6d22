"""What students learned from the same rows under different weights, measured on unseen tasks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from research.real_code.judging import Judge, Resampled
from research.real_code.tokens import Completions


def judge_students(
    completions: Completions,
    nll: Mapping[str, NDArray[Any]],
    passed: Mapping[str, Mapping[str, bool]],
    against: Sequence[str],
    sources: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Losses of each student on unseen tasks, and their paired differences.

        right_nll       mean over the counted tokens of right completions, EOS included; lower is better
        wrong_token_nll mean over the first wrong tokens of wrong completions; higher is better
        other_nll       mean over the other tokens of wrong completions before EOS
        bug_margin      mean loss of first wrong tokens less that of the tokens that a right completion has in their
                        place, after the same tokens; higher is better
        prefers_right   share of the pairs of a right and a wrong completion of a task in which the right one has the
                        smaller mean loss
        pass1           share of the tasks whose greedy completion passes its tests, where tasks were decoded

    Args:
        completions: all rows.
        nll: by student, [n], nats.
        passed: by student, whether a task's greedy completion passed; tasks that were not decoded are left out.
        against: students that each other one is compared with.
        sources: whose rows are judged; None: all.
    """
    judge = Judge(completions, sources)
    right = completions.right[completions.row_of] & completions.counted
    bugs, fixes = completions.bugs_and_fixes()
    at_bugs = np.isin(np.arange(completions.n_tokens), bugs)
    measured: dict[str, dict[str, Resampled]] = {}
    for name, losses in nll.items():
        x = np.asarray(losses, np.float64)
        margins = np.zeros_like(x)
        margins[bugs] = x[bugs] - x[fixes]
        found = {
            "right_nll": judge.mean_of_tokens(x, right),
            "wrong_token_nll": judge.mean_of_tokens(x, completions.first_wrong),
            "other_nll": judge.mean_of_tokens(x, completions.sought & ~completions.wrong_token),
            "bug_margin": judge.mean_of_tokens(margins, at_bugs),
            "prefers_right": judge.right_over_wrong(-completions.row_means(x))["auc_within"],
            "pass1": judge.mean_of_tasks(passed.get(name, {})),
        }
        measured[name] = {measure: mean for measure, mean in found.items() if mean is not None}
    return {"tasks": judge.n_tasks, "students": judge.with_intervals(measured, against)}
