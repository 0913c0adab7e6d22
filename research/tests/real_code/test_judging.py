"""Scores of tokens and completions against loops, and fits that never see what they are judged on."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from research.real_code import critics as real_code_critics
from research.real_code.critics import (
    Opinion,
    beliefs,
    fitted_on_sought,
    judge_critics,
    position_features,
    suspicions,
    value_opinion,
)
from research.real_code.judging import Judge, cross_fitted
from research.real_code.rows import FOLDS, kind_of_bug
from research.real_code.students import judge_students
from research.real_code.tokens import Completions
from weighted_mtp.evaluation.calibration import brier, expected_calibration_error
from weighted_mtp.evaluation.localisation import locate_errors
from weighted_mtp.evaluation.ranking import auc


@pytest.fixture(scope="module")
def completions(code_rows, code_tokenizer):
    """20 tasks of four rows, of two sources; of one wrong row the span is the indentation."""
    rows = [row | {"source": "odd" if row["part"] % 2 else "even"} for row in code_rows]
    wrong = next(i for i, row in enumerate(rows) if not row["label"])
    rows[wrong] |= {"span": [0, 1]}
    return Completions.of(rows, code_tokenizer)


@pytest.fixture(scope="module")
def scores(completions):
    """Random scores of tokens, with ties, higher at wrong tokens."""
    rng = np.random.default_rng(0)
    return np.round(rng.normal(size=completions.n_tokens) + 0.5 * completions.wrong_token, 1)


@pytest.fixture(scope="module")
def untrained(completions):
    rng = np.random.default_rng(1)
    names = ("surprisal", "entropy")
    return {name: rng.exponential(size=completions.n_tokens).astype(np.float32) for name in names}


def flags(completions, source):
    return np.array([source is None or row["source"] == source for row in completions.rows])


# Fits on the other folds


@pytest.fixture
def elements():
    rng = np.random.default_rng(0)
    folds = rng.integers(FOLDS, size=200)
    features = [rng.normal(size=200), rng.normal(size=200) ** 2]
    return features, rng.random(200) < 1 / (1 + np.exp(-features[0])), folds


@pytest.mark.parametrize("fold", range(FOLDS))
def test_what_a_fold_is_told_does_not_depend_on_its_own_labels(elements, fold):
    features, positives, folds = elements
    own = folds == fold
    before = cross_fitted(features, positives, folds)
    after = cross_fitted(features, np.where(own, ~positives, positives), folds)
    assert np.array_equal(before[own], after[own])
    assert not np.isclose(before[~own], after[~own]).any()


def test_what_a_fold_is_told_does_not_depend_on_other_elements_of_it(elements):
    """Nor by way of the standardisation."""
    features, positives, folds = elements
    own, one = folds == 2, np.flatnonzero(folds == 2)[0]
    changed = [np.where(own, 1e3 * x, x) for x in features]
    for x, y in zip(changed, features, strict=True):
        x[one] = y[one]
    before, after = (cross_fitted(x, positives, folds) for x in (features, changed))
    assert before[one] == after[one]


def test_elements_that_may_not_be_fitted_on_are_predicted_and_not_read(elements):
    features, positives, folds = elements
    fit_on = np.arange(200) % 3 > 0
    found = cross_fitted(features, positives, folds, fit_on=fit_on)
    assert np.array_equal(found, cross_fitted(features, positives ^ ~fit_on, folds, fit_on=fit_on))
    kept = cross_fitted([x[fit_on] for x in features], positives[fit_on], folds[fit_on])
    assert np.array_equal(found[fit_on], kept)
    assert ((found > 0) & (found < 1)).all()


def test_a_fit_finds_the_probabilities_that_made_the_labels():
    rng = np.random.default_rng(0)
    x = 50 + 10 * rng.normal(size=20_000)
    p = 1 / (1 + np.exp(-(0.2 * (x - 50) - 1)))
    found = cross_fitted([x], rng.random(20_000) < p, rng.integers(FOLDS, size=20_000))
    assert np.abs(found - p).max() < 0.03


def test_a_suspicion_of_the_sought_tokens_is_fitted_on_no_token_of_the_fold(completions, scores):
    fold = completions.fold[completions.row_of]
    found = fitted_on_sought(completions, [scores])
    errors = completions.wrong_token.copy()
    errors[fold == 0] = np.roll(errors[fold == 0], 1)
    other = fitted_on_sought(dataclasses.replace(completions, wrong_token=errors), [scores])
    assert np.array_equal(found[fold == 0], other[fold == 0])
    assert not np.array_equal(found[fold > 0], other[fold > 0])
    assert (found[~completions.sought] == 0).all()


def test_later_wrong_tokens_are_no_negatives_of_a_fit(completions, scores):
    later = completions.sought & completions.wrong_token & ~completions.first_wrong
    assert later.any()
    changed = np.where(later, 1e3, scores)
    at = completions.sought & ~later
    first, second = (fitted_on_sought(completions, [x]) for x in (scores, changed))
    assert np.array_equal(first[at], second[at])


# Localisation


@pytest.mark.parametrize("source", [None, "odd"])
def test_localisation_is_that_of_locate_errors(completions, scores, source):
    judge = Judge(completions, source and [source])
    found = judge.localisation({"made": scores, "none": np.zeros(len(scores))}, ["none"])
    mask = completions.padded(completions.sought)
    mask &= flags(completions, source)[:, None]
    error = completions.padded(completions.wrong_token)
    mask &= (error & mask).any(1, keepdims=True)
    expected = locate_errors(-completions.padded(scores), error, mask)
    assert found["made"]["auc"]["mean"] == pytest.approx(expected.auc_within_wrong, abs=1e-12)
    assert expected.auc == expected.auc_within_wrong  # rows without anything to find are left out
    assert found["made"]["top1"]["mean"] == pytest.approx(expected.top1, abs=1e-12)
    assert found["none"]["auc"]["mean"] == 0.5
    over = found["made"]["auc_over"]["none"]
    assert over["mean"] == pytest.approx(expected.auc_within_wrong - 0.5, abs=1e-12)
    assert over["low"] < over["mean"] < over["high"]


def test_what_is_not_sought_is_never_read(completions, scores):
    judge = Judge(completions)
    found = judge.localisation({"made": scores}, [])
    blind = np.where(completions.sought, scores, np.nan)
    assert judge.localisation({"made": blind}, []) == found


def test_a_method_that_always_points_at_the_first_wrong_token_is_perfect(completions):
    found = Judge(completions).localisation({"oracle": completions.first_wrong.astype(float)}, [])["oracle"]
    assert [found[kind]["mean"] for kind in ("auc", "top1")] == [1.0, 1.0]


# Outcome and means


def compared(scores, completions, taken, within: bool) -> float:
    """Share of the pairs of a right and a wrong completion that the right one wins."""
    wins = [
        (scores[i] > scores[j]) + (scores[i] == scores[j]) / 2
        for i in range(len(scores))
        for j in range(len(scores))
        if taken[i] and taken[j] and completions.right[i] and not completions.right[j]
        if not within or completions.rows[i]["task_id"] == completions.rows[j]["task_id"]
    ]
    return float(np.mean(wins))


@pytest.mark.parametrize("source", [None, "odd", "even"])
def test_outcome_counts_pairs(completions, source):
    rng = np.random.default_rng(0)
    belief = np.round(rng.normal(size=len(completions.rows)) + 0.5 * completions.right, 1)
    found = Judge(completions, source and [source]).outcome({"made": belief}, [])["made"]
    taken = flags(completions, source)
    assert found["auc"]["mean"] == pytest.approx(compared(belief, completions, taken, False), abs=1e-12)
    assert found["auc_within"]["mean"] == pytest.approx(compared(belief, completions, taken, True), abs=1e-12)


@pytest.mark.parametrize("source", [None, "even"])
def test_means_are_over_the_rows_of_the_source(completions, scores, source):
    judge = Judge(completions, source and [source])
    taken = flags(completions, source)
    assert judge.n_tasks == len({row["task_id"] for row in completions.rows if source in (None, row["source"])})
    expected = np.mean([x for x, i in zip(scores, completions.row_of, strict=True) if taken[i]])
    everywhere = np.ones(len(scores), bool)
    assert judge.mean_of_tokens(scores, everywhere)[0] == pytest.approx(expected)


def test_a_mean_of_tasks_leaves_out_those_of_other_sources_and_unknown_ones(completions):
    tasks = {row["task_id"]: row["source"] for row in completions.rows}
    passed = {task: source == "odd" for task, source in tasks.items()} | {"made/none": True}
    first = next(task for task, source in tasks.items() if source == "even")
    means = {source: Judge(completions, [source]).mean_of_tasks(passed)[0] for source in ("odd", "even")}
    assert means == {"odd": 1.0, "even": 0.0}
    assert Judge(completions).mean_of_tasks(passed)[0] == np.mean([s == "odd" for s in tasks.values()])
    assert Judge(completions, ["even"]).mean_of_tasks({first: True})[0] == 1.0


def test_a_resample_is_the_statistic_of_the_tasks_it_drew(completions, scores):
    judge = Judge(completions)
    drawn = judge.draws[0]
    copies = [i for i, task in enumerate(judge.task) for _ in range(drawn[task])]
    tokens = [scores[n] for i in copies for n in range(completions.starts[i], completions.starts[i + 1])]
    everywhere = np.ones(len(scores), bool)
    assert judge.mean_of_tokens(scores, everywhere)[1][0] == pytest.approx(np.mean(tokens))


def test_calibration_is_of_the_rows_of_the_source(completions):
    values = np.random.default_rng(0).random(len(completions.rows))
    taken = flags(completions, "odd")
    found = Judge(completions, ["odd"]).calibration(values)
    assert found["brier"] == brier(values[taken], completions.right[taken])
    assert found["ece"] == expected_calibration_error(values[taken], completions.right[taken])
    assert sum(b["count"] for b in found["reliability"]) == taken.sum()


# Critics


def test_credit_of_a_value_head_is_what_a_token_adds(completions):
    values = np.random.default_rng(0).random(completions.n_tokens)
    opinion = value_opinion(completions, values)
    for i, (start, end) in enumerate(zip(completions.starts[:-1], completions.starts[1:], strict=True)):
        steps = [values[n + 1] - values[n] for n in range(start, end - 1)]
        assert opinion.credit[start:end].tolist() == [*steps, 0.0]
        assert opinion.final[i] == values[end - 1]


def test_position_tells_a_tokens_place_and_share(completions):
    log_place, share = position_features(completions)
    for start, end in zip(completions.starts[:-1], completions.starts[1:], strict=True):
        places = np.arange(end - start)
        np.testing.assert_allclose(np.expm1(log_place[start:end]), places, atol=1e-12)
        np.testing.assert_allclose(share[start:end], places / (end - start))


def test_a_critic_that_knows_is_better_alone_and_with_what_the_untrained_model_knows(completions, untrained):
    credit = -5.0 * completions.first_wrong + 0.01 * np.random.default_rng(0).normal(size=completions.n_tokens)
    critics = {"knows": Opinion(credit, np.where(completions.right, 0.9, 0.1))}
    found = judge_critics(
        completions, suspicions(completions, untrained, critics), beliefs(completions, untrained["surprisal"], critics)
    )
    assert found["tasks"] == 20
    for name in ("knows", "knows + surprisal", "knows + all untrained"):
        assert found["localisation"][name]["auc"]["mean"] == 1.0
        assert found["localisation"][name]["auc_over"]["surprisal"]["low"] > 0
    assert found["outcome"]["knows"]["auc"]["mean"] == 1.0
    assert found["outcome"]["knows"]["auc_over"]["surprisal, length"]["low"] > 0
    assert found["calibration"].keys() == {"surprisal, length", "knows", "knows + surprisal, length"}


def test_beliefs_of_the_untrained_model_are_its_mean_surprisal_and_the_length(completions, untrained):
    found = beliefs(completions, untrained["surprisal"], {})
    for i, (start, end) in enumerate(zip(completions.starts[:-1], completions.starts[1:], strict=True)):
        assert found["surprisal"][i] == pytest.approx(-np.mean(untrained["surprisal"][start + 1 : end]), rel=1e-6)
        assert found["length"][i] == start - end


def test_a_critic_that_never_moves_its_belief_is_judged_too(completions, untrained):
    """As an untrained value head."""
    critics = {"idle": Opinion(np.zeros(completions.n_tokens), np.full(len(completions.rows), 0.5))}
    with np.errstate(all="raise"):
        found = suspicions(completions, untrained, critics)
    assert all(np.isfinite(scores).all() for scores in found.values())
    assert Judge(completions).localisation(found, [])["idle"]["auc"]["mean"] == 0.5


def test_a_verdict_of_a_source_is_on_its_rows_and_fits_are_on_all(completions, untrained):
    everything = suspicions(completions, untrained, {})
    found = judge_critics(completions, everything, beliefs(completions, untrained["surprisal"], {}), ["odd"])
    expected = Judge(completions, ["odd"]).localisation(everything, ["surprisal", "surprisal, entropy, position"])
    assert found["localisation"] == expected


# Students


@pytest.fixture
def nll(completions):
    rng = np.random.default_rng(2)
    return {name: rng.exponential(size=completions.n_tokens).astype(np.float32) for name in ("untrained", "taught")}


@pytest.mark.parametrize("source", [None, "odd"])
def test_losses_of_students_are_means_over_loops(completions, nll, source):
    found = judge_students(completions, nll, {}, ["untrained"], source and [source])["students"]["taught"]
    right, first_wrong, others, mean = [], [], [], []
    for i, row in enumerate(completions.rows):
        start, end = completions.starts[i], completions.starts[i + 1]
        losses, wrong = nll["taught"][start:end].tolist(), completions.wrong_token[start:end].tolist()
        mean.append(-np.mean(losses[1:]))
        if source not in (None, row["source"]):
            continue
        if row["label"]:
            right += losses[1:]
            continue
        inner = range(1, end - start - 1)
        first_wrong += [losses[j] for j in inner if wrong[j]][:1]
        others += [losses[j] for j in inner if not wrong[j]]
    for name, losses in (("right", right), ("wrong_token", first_wrong), ("other", others)):
        assert found[f"{name}_nll"]["mean"] == pytest.approx(np.mean(losses), rel=1e-6), name
    taken = flags(completions, source)
    assert found["prefers_right"]["mean"] == pytest.approx(compared(mean, completions, taken, True), abs=1e-12)
    assert found["right_nll_over"].keys() == {"untrained"}


@pytest.mark.parametrize("source", [None, "odd"])
def test_the_margin_at_a_bug_is_over_the_right_token_in_its_place(completions, nll, source):
    found = judge_students(completions, nll, {}, ["untrained"], source and [source])["students"]["taught"]
    margins = []
    for i in np.flatnonzero(~completions.right & flags(completions, source)):
        wrong, tokens, losses = by_row(completions, i, nll["taught"])
        first = next((j for j in range(1, len(wrong) - 1) if wrong[j]), None)
        for other, row in enumerate(completions.rows):
            _, right, right_losses = by_row(completions, other, nll["taught"])
            if first is None or not row["label"] or row["task_id"] != completions.rows[i]["task_id"]:
                continue
            if right[:first] == tokens[:first] and right[first : first + 1] not in ([], [tokens[first]]):
                margins.append(losses[first] - right_losses[first])
                break
    assert 0 < len(margins) < sum(~completions.right)
    assert found["bug_margin"]["mean"] == pytest.approx(np.mean(margins), rel=1e-6)
    assert "untrained" in found["bug_margin_over"]


def test_without_a_right_token_in_a_bugs_place_there_is_no_margin(completions, nll):
    alone = dataclasses.replace(completions, ids=np.arange(completions.n_tokens))
    assert "bug_margin" not in judge_students(alone, nll, {}, [])["students"]["taught"]


def by_row(completions, row, losses):
    at = slice(completions.starts[row], completions.starts[row + 1])
    return completions.wrong_token[at].tolist(), completions.ids[at].tolist(), losses[at].tolist()


def test_tasks_that_were_decoded_give_pass_at_1(completions, nll):
    tasks = sorted({row["task_id"] for row in completions.rows})
    passed = {
        "untrained": dict.fromkeys(tasks[:4], False),
        "taught": dict(zip(tasks[:4], [True] * 3 + [False], strict=True)),
    }
    found = judge_students(completions, nll, passed, ["untrained"])["students"]
    assert found["taught"]["pass1"]["mean"] == found["taught"]["pass1_over"]["untrained"]["mean"] == 0.75
    assert "pass1" not in judge_students(completions, nll, {}, [])["students"]["taught"]


def test_a_source_without_tests_has_no_pass_at_1(completions, nll):
    odd = {row["task_id"]: True for row in completions.rows if row["source"] == "odd"}
    passed = dict.fromkeys(nll, odd)
    assert judge_students(completions, nll, passed, ["untrained"], ["odd"])["students"]["taught"]["pass1"]["mean"] == 1
    for nothing in ({}, odd):
        found = judge_students(completions, nll, dict.fromkeys(nll, nothing), ["untrained"], ["even"])
        assert "pass1" not in found["students"]["taught"]


def test_a_kind_of_bug_is_judged_on_its_rows_alone(completions, untrained, monkeypatch):
    rows = [
        row | ({} if row["label"] else {"mutation": f"{'even' if i % 2 else 'rare'}: a -> b"})
        for i, row in enumerate(completions.rows)
    ]
    named = dataclasses.replace(completions, rows=rows)
    counts = Counter(filter(None, map(kind_of_bug, rows)))
    monkeypatch.setattr(real_code_critics, "LEAST_OF_A_KIND", 1)
    scores = suspicions(completions, untrained, {})
    found = real_code_critics.judge_kinds(named, scores)
    assert {kind: entry["completions"] for kind, entry in found.items()} == counts
    findable = np.isin(named.row_of, named.row_of[named.first_wrong])
    for kind, entry in found.items():
        of_kind = np.array([kind_of_bug(row) == kind for row in rows])[named.row_of]
        keep = of_kind & findable & named.sought
        keep &= named.first_wrong | ~named.wrong_token
        expected = auc(scores["surprisal"][keep], named.first_wrong[keep])
        assert entry["localisation"]["surprisal"]["auc"]["mean"] == pytest.approx(expected)
