"""Who finds the step that went wrong: readings of tokens, gathered by step, against the marked one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from research.real_teacher.traces import Row, by_step, step_of_tokens
from weighted_mtp.data import load_rows, tokenize_rows
from weighted_mtp.evaluation.localisation import hits_at_first_error
from weighted_mtp.evaluation.ranking import pairs_by_group
from weighted_mtp.models import MTPModel
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.training.scoring import score

Readings = dict[str, list[list[float]]]
"""Name -> of each trace, of each step, how much it looks wrong: the higher, the more."""
BINS = 10
"""Of the relative position of a step, by which the prior over positions is counted."""


@torch.no_grad()
def surprisal_and_entropy(
    model: MTPModel, tokenizer: Any, rows: Sequence[Row], batch_size: int = 32
) -> list[tuple[list[float], list[float]]]:
    """Of each row's learned tokens, the end included: -log p and the entropy of the prediction, in nats."""
    model.eval()
    plain = [{"prompt": r["prompt"], "completion": r["completion"], "label": r["label"]} for r in rows]
    encoded, _ = tokenize_rows(plain, tokenizer, max_length=10**9)
    found: list[tuple[list[float], list[float]]] = []
    for at in range(0, len(rows), batch_size):
        some: Any = encoded[at : at + batch_size]
        ids, labels = (
            torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in some[name]], True, fill)
            for name, fill in (("input_ids", 0), ("labels", -100))
        )
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(row)) for row in some["input_ids"]], True)
        logs = model.full_forward(ids, mask.long())["logits"][:, :-1, 0].float().log_softmax(-1)
        for row, label in zip(logs, labels[:, 1:], strict=True):
            known = row[label != -100]
            surprisal = -known.gather(1, label[label != -100, None])[:, 0]
            found.append((surprisal.tolist(), (-known.exp() * known).sum(1).tolist()))
    return found


def language_model_readings(model: MTPModel, tokenizer: Any, rows: Sequence[Row], batch_size: int = 32) -> Readings:
    """Surprisal and entropy of each step's tokens: their mean, and the greatest."""
    told = surprisal_and_entropy(model, tokenizer, rows, batch_size)
    found: Readings = {}
    for i, name in enumerate(("surprisal", "entropy")):
        tokens = _steps([one[i] for one in told], tokenizer, rows)
        found[f"{name}, mean"] = [[float(np.mean(step)) for step in row] for row in tokens]
        found[f"{name}, greatest"] = [[max(step) for step in row] for row in tokens]
    return found


def critic_readings(config: ScoreConfig, name: str, tokenizer: Any, rows: Sequence[Row]) -> Readings:
    """How far each step moved a critic's belief towards wrong: all its tokens together, and the worst of them.

    A value head's TD error at the end, which reads the outcome, is left out.
    """
    score(config, quiet=True)
    scored = load_rows(config.out)[0]
    column = "credit" if "credit" in scored[0] else "td_errors"
    moved = [[-x for x in row[column][:-1]] + [0.0] for row in scored]
    tokens = _steps(moved, tokenizer, rows)
    return {
        f"{name}, sum": [[sum(step) for step in row] for row in tokens],
        f"{name}, worst token": [[max(step) for step in row] for row in tokens],
    }


def _steps(values: Sequence[Sequence[float]], tokenizer: Any, rows: Sequence[Row]) -> list[list[list[float]]]:
    """By row, by step, the values of its tokens; a step without a token of its own has a 0."""
    found: list[list[list[float]]] = []
    for some, row in zip(values, rows, strict=True):
        steps = by_step(some, step_of_tokens(tokenizer, row["completion"]), row["completion"].count("\n") + 1)
        found.append([step or [0.0] for step in steps])
    return found


def position_readings(rows: Sequence[Row], known: Sequence[Row]) -> Readings:
    """What position alone says: the first step, the middle, the last, and where marks lie in other traces."""
    n_steps = [row["completion"].count("\n") + 1 for row in rows]
    bins = np.ones(BINS)
    for row in known:
        if is_judged(row):
            bins[_bin(row["marked"], row["completion"].count("\n") + 1)] += 1
    return {
        "the first step": [[-float(i) for i in range(n)] for n in n_steps],
        "the middle step": [[-abs(i - (n - 1) / 2) for i in range(n)] for n in n_steps],
        "the last step": [[float(i) for i in range(n)] for n in n_steps],
        "where marks lie elsewhere": [[float(bins[_bin(i, n)]) for i in range(n)] for n in n_steps],
    }


def _bin(step: int, n: int) -> int:
    return min(BINS - 1, BINS * step // n)


def is_judged(row: Row) -> bool:
    """Whether finding its step is asked for: its answer is wrong, and a step is marked."""
    return not row["label"] and row["marked"] is not None


def found_steps(readings: Readings, rows: Sequence[Row]) -> dict[str, dict[str, list[float]]]:
    """Name -> for each trace with a wrong answer and a marked step, whether its worst step is that one, and the AUC.

        auc = share of the other steps of the trace that look less wrong than the marked one, ties half

    Steps behind the marked one are among the others, as they are for top-1: were they left out, to name the last step
    would be right every time. A trace of one step has no AUC and is NaN there.
    """
    picked = [i for i, row in enumerate(rows) if is_judged(row)]
    found: dict[str, dict[str, list[float]]] = {}
    for name, scores in readings.items():
        credit, error, mask = _padded([scores[i] for i in picked], [rows[i]["marked"] for i in picked])
        top1 = hits_at_first_error(credit, error, mask) if picked else np.zeros(0)
        auc = [_auc(scores[i], rows[i]["marked"]) for i in picked]
        found[name] = {"top1": top1.tolist(), "auc": auc}
    chance = [1 / (rows[i]["completion"].count("\n") + 1) for i in picked]
    return found | {"chance": {"top1": chance, "auc": [0.5] * len(picked)}}


def _auc(scores: Sequence[float], marked: int) -> float:
    positive = np.arange(len(scores)) == marked
    pairs, won = pairs_by_group(np.asarray(scores, np.float64), positive, np.zeros(len(scores), np.int64))
    return float(won.sum() / pairs.sum()) if pairs.sum() else float("nan")


def _padded(
    scores: Sequence[Sequence[float]], marked: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Credit, errors and mask, [N, steps]."""
    most = max(map(len, scores), default=1)
    credit, mask = np.zeros((len(scores), most)), np.zeros((len(scores), most), np.bool_)
    for i, row in enumerate(scores):
        credit[i, : len(row)], mask[i, : len(row)] = -np.asarray(row), True
    return credit, np.arange(most) == np.asarray(marked, np.int64)[:, None], mask


def merged(parts: Sequence[Mapping[str, Mapping[str, list[float]]]]) -> dict[str, dict[str, list[float]]]:
    """The traces of several folds, one behind another."""
    names = parts[0].keys() if parts else ()
    return {name: {m: [x for part in parts for x in part[name][m]] for m in ("top1", "auc")} for name in names}
