"""Every arm of the experiment on a task of one token: what it leaves, what a second call makes, and the page."""

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from research.on_policy import run
from research.on_policy.arms import (
    ARMS,
    CRITICS,
    DRAWN,
    DRAWN_ARMS,
    EQUAL_COMPUTE,
    FEW,
    GATED_BY_QUARTER,
    MAIN,
    OF_EVIDENCE,
    ORACLE_BEHIND,
    ROW_GATED,
    SKILL,
    START,
    needs,
    with_needs,
)
from research.on_policy.cells import Cell, run_cell
from research.on_policy.place import Budget, Place
from research.on_policy.report import page
from research.on_policy.results import read_results
from research.on_policy.settings_tables import NAMES
from research.on_policy.tasks import TASKS
from research.on_policy.tasks.task import Task
from research.on_policy.weights import before_change, draw

COIN = Task(
    "coin",
    "abcd:",
    lambda rng: "".join(rng.choices("cd", k=9)) + ":",
    lambda prompt, written: "ab"[prompt.count("c") % 2],
    1,
    lambda completion: completion,
)
"""Whether a letter comes an even number of times: a small model guesses, and half of its samples are right."""
TINY = Budget(
    0.2, 2, 1e-3, critic_steps=16, start_steps=40, last_steps=2, batch_size=16, demonstrations=100,
    prompts=30, samples=2, test_prompts=12, fresh_samples=2, width=16, layers=1, validation_prompts=20, rounds=3,
)  # fmt: skip


@contextmanager
def coin() -> Iterator[None]:
    """While inside, there is the task of one token."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, "coin", COIN)
        yield


@pytest.fixture(scope="module")
def finished(made_once) -> Path:
    """The output of one draw of all arms, and a second round of one."""

    def make(out: Path) -> None:
        place = Place("coin", 25, 0, out, TINY)
        for name in with_needs((*MAIN, *DRAWN_ARMS, *OF_EVIDENCE, ORACLE_BEHIND, GATED_BY_QUARTER)):
            run_cell(Cell(place, name))
        for name in with_needs(FEW[:1]):
            run_cell(Cell(Place("coin", 25, 0, out, TINY, ("uniform",)), name))

    with coin():
        return made_once("on_policy", make)


def results_of(out: Path, name: str, place: str = "coin-25-draw0") -> dict:
    return json.loads((out / "cells" / place / f"{name}.json").read_text())


@pytest.mark.parametrize("arm", [arm.name for arm in MAIN])
def test_every_arm_says_what_it_solved_and_what_it_cost(finished, arm):
    found = results_of(finished, arm)
    assert 0 <= found["greedy"] <= 1
    assert 0 <= found["sampled"] <= 1
    assert found["cpu_seconds"] > 0


@pytest.mark.parametrize("critic", [arm.name for arm in CRITICS])
def test_every_critic_is_measured_on_samples_of_problems_that_it_never_saw(finished, critic):
    found = results_of(finished, critic)
    rows = (finished / "work" / "coin-25-draw0" / "fresh.jsonl").read_text().splitlines()
    assert found["fresh_skill"]["rows"] == len(rows) > TINY.test_prompts
    assert 0 <= found["localisation"]["auc"] <= 1


@pytest.mark.parametrize("name", DRAWN)
def test_rows_drawn_by_weight_fill_the_steps_and_weigh_one_each(finished, name):
    lines = (finished / "work" / "coin-25-draw0" / f"{name}.jsonl").read_text().splitlines()
    assert len(lines) == TINY.steps * TINY.batch_size
    assert [float(np.mean(json.loads(line)["weights"])) for line in lines] == pytest.approx([1.0] * len(lines))


@pytest.mark.parametrize("arm", OF_EVIDENCE, ids=lambda arm: arm.name)
def test_who_weighs_by_evidence_keeps_every_right_row_and_none_without_weight(finished, arm):
    def rows(name):
        return list(map(json.loads, (finished / "work" / "coin-25-draw0" / name).read_text().splitlines()))

    kept = rows(f"{'row_gated' if arm in ROW_GATED else 'change_point'}-{arm.rows}.jsonl")
    assert sum(row["label"] for row in kept) == sum(row["label"] for row in rows("train.jsonl"))
    assert all(any(row["weights"]) for row in kept)


def test_behind_the_first_wrong_token_nothing_is_kept(finished):
    lines = (finished / "work" / "coin-25-draw0" / "oracle_behind.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if any(row["token_error"])]
    assert rows
    for row in rows:
        first = row["token_error"].index(True)
        assert row["weights"] == [1] * first + [0] * (len(row["weights"]) - first)


def test_what_comes_before_the_first_wrong_token_is_found_as_by_counting_every_case():
    credit = np.array([0.3, -2.0, 0.1, -0.4])
    likelihood = [math.exp(-credit[tau:].sum()) for tau in range(4)]  # against all tokens as those of right rows
    expected = [sum(likelihood[t + 1 :]) / sum(likelihood) for t in range(4)]
    assert before_change(credit).tolist() == pytest.approx(expected)


def test_a_row_is_drawn_in_proportion_to_its_mean_weight():
    weights = [[1.0, 3.0], [0.0, 0.0], [0.5], [1.5]]
    counts = np.bincount(draw(weights, 8, np.random.default_rng(0)), minlength=4)
    assert counts.tolist() == [4, 0, 1, 3]


def test_the_gate_is_measured_by_folds(finished):
    assert results_of(finished, SKILL)["skill"]["rows"] == results_of(finished, START)["rows"]


@pytest.mark.parametrize("arm", [arm.name for arm in EQUAL_COMPUTE])
def test_right_only_gets_what_the_critics_cost(finished, arm):
    found = results_of(finished, arm)
    critics = (
        results_of(finished, "label_conditioned")["train_cpu_seconds"] + results_of(finished, SKILL)["cpu_seconds"]
    )
    assert found["critics_cpu_seconds"] == pytest.approx(critics)


def test_a_second_round_samples_the_model_of_the_first(finished):
    after = "coin-25-draw0-then-uniform"
    first, second = ((finished / "work" / name / "train.jsonl").read_text() for name in ("coin-25-draw0", after))
    assert first != second
    assert results_of(finished, "uniform", after)["asked"]["lineage"] == ["uniform"]


def test_a_second_call_makes_what_is_missing_and_nothing_else(finished, tmp_path):
    out = tmp_path / "again"
    shutil.copytree(finished, out)
    place = Place("coin", 25, 0, out, TINY)
    lost = Cell(place, "guided")
    lost.file.unlink()
    kept = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/*.json")}
    with coin():
        for name in with_needs(MAIN):
            run_cell(Cell(place, name))
    assert lost.finished() is not None
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_cell_of_another_budget_is_not_taken_for_this_one(finished):
    other = Budget(0.2, 3, 1e-3)
    assert Cell(Place("coin", 25, 0, finished, other), "uniform").finished() is None


def test_the_page_is_made_of_what_is_there(finished, monkeypatch):
    monkeypatch.setitem(NAMES, "coin", "a letter is counted")
    text = page(read_results(finished))
    for arm in MAIN:
        assert f"| `{arm.name}` |" in text
    for name in (*DRAWN, *(arm.name for arm in OF_EVIDENCE)):
        assert f"| `{name}`, coin, greedy |" in text
    assert "undecided" in text
    assert "Three rounds" not in text


def test_nothing_is_claimed_of_a_single_draw(finished, monkeypatch):
    monkeypatch.setitem(NAMES, "coin", "a letter is counted")
    text = page(read_results(finished))
    assert "Decidedly" not in text
    assert "**+**" not in text


def test_no_finished_cell_is_an_error_that_says_what_to_run(tmp_path):
    with pytest.raises(ValueError, match=r"run python -m research.on_policy --out"):
        read_results(tmp_path)


@pytest.mark.parametrize("part", [*run.PARTS])
def test_what_a_cell_needs_stands_before_it(part, tmp_path):
    cells = run.cells_of(part, list(TASKS), None, tmp_path)
    files = [cell.file for cell in cells]
    assert len(set(files)) == len(files)
    for i, cell in enumerate(cells):
        before = {other.name for other in cells[:i] if cell.needs(other)}
        assert needs(cell.name) <= before


def test_parts_share_their_cells(tmp_path):
    main, rounds = ({c.file for c in run.cells_of(part, list(TASKS), 3, tmp_path)} for part in ("main", "rounds"))
    first = {file for file in rounds if "then" not in file.parent.name}
    assert first <= main
    assert {ARMS[file.stem].name for file in first - main} == set()
