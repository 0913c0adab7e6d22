"""Every part on a few made rows: what its cells leave, what a second call makes, and the page."""

import json
import random
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from research.on_policy.arms import with_needs
from research.on_policy.cells import by_problem, run_cell
from research.real_teacher import dyck
from research.real_teacher.cells import FIRST, LOCATED, OUTSIDE, StudentCell, cells_of, choice_cells
from research.real_teacher.docs_page import DOCS, KEPT
from research.real_teacher.folds import GSM8K, TASKS, FoldSize, fold_cells
from research.real_teacher.place import Size, Students
from research.real_teacher.report import page
from research.real_teacher.results import read_results
from research.real_teacher.run import SIZE
from research.real_teacher.traces import SOLUTIONS, TRACES, WRITERS, read_traces
from weighted_mtp.demo.arms import CRITIC
from weighted_mtp.evaluation.decoding import Completion

TINY = Size(
    0.0, 2, 1e-3, critic_steps=16, start_steps=4, batch_size=16, test_prompts=6, width=16, layers=1, most_trace=60,
    most_brackets=8, held_out=0.3,
)  # fmt: skip
SOME = (TASKS[0], GSM8K)
SHARED = Path(__file__).parents[4] / "shared/data"
FOLDS = FoldSize(0.0, 0, 1e-3, batch_size=8, width=16, layers=1, tokens=3_000, vocabulary=300)


def trace(rng: random.Random, given: str, right: bool) -> dict:
    """A trace as the teacher writes it; a wrong one leaves its last stack wrong."""
    steps, stack = [*dyck.PHRASES[0].rstrip("\n").split("\n")], list[str]()
    for bracket in given.split():
        stack = stack[:-1] if bracket not in dyck.CLOSES else [*stack, bracket]
        steps.append(f"{bracket} ; stack: {' '.join(stack) or 'empty'}")
    marked = None
    target = answer = dyck.closing(given)
    if not right:
        marked, answer = len(steps) - 1, rng.choice(")]}>")
        steps[marked] = f"{given[-1]} ; stack: ("
    steps.append(f"So, we need {answer}. So the answer is {answer}")
    right = answer == target
    return {
        "input": given, "target": target, "answer": answer, "steps": steps, "mistake_index": None if right else marked
    }  # fmt: skip


def students(data: Path, out: Path) -> list[StudentCell]:
    """The arms that no other test trains, and what they need, of one draw."""
    names = {*with_needs(FIRST), CRITIC.name, LOCATED}
    return [cell for cell in dict.fromkeys(cells_of(data, out, TINY, 1)) if cell.name in names]


def forms(prompts: Iterable[str]) -> set[str]:
    """The prompts, of which renamings are alike."""
    return {dyck.canonical(prompt.strip()) for prompt in prompts}


def forms_that_meet(place: Students) -> set[str]:
    """Of prompts held out or of test problems, those that the start learns, or the teacher was given."""
    learned, held_out = (forms(row["prompt"] for row in place.rows[side]) for side in ("train", "held_out"))
    teachers = forms(row["prompt"] for row in read_traces(place.data, TASKS[0]))
    return (held_out & learned) | (forms(place.problems["test"]) & teachers)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the form that --data names."""
    folder, rng = tmp_path_factory.mktemp("data"), random.Random(0)
    different = dyck.problems(rng, [(6, 1), (8, 2)], 50)
    given = [text for one in different for text in list(dict.fromkeys(dyck.renamed(one)))[:2]]
    rows = [trace(rng, text, i % 2 == 0) for i, text in enumerate(given)]
    for task in TASKS:
        path = folder / TRACES.format(task=task)
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows[: 100 if task == TASKS[0] else 24]))
    path = folder / SOLUTIONS
    path.parent.mkdir()
    solved = [
        {"question": f"{i} + 1?"}
        | {w: {"solution": f"{i + 1}", "is_correct": (i + j) % 2 == 0} for j, w in enumerate(WRITERS)}
        for i in range(30)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in solved))
    return folder


@pytest.fixture(scope="module")
def finished(data: Path, made_once) -> Path:
    """The output of one draw of all arms, and of the folds."""

    def make(out: Path) -> None:
        folds = [c for part in ("mistakes", GSM8K) for c in fold_cells(part, data, out, FOLDS) if c.place.task in SOME]
        for cell in (*choice_cells(data, out, TINY), *folds):
            run_cell(cell)
        for cell in students(data, out):
            run_cell(cell)

    return made_once("real_teacher", make)


def test_every_arm_says_what_it_solved(finished):
    for arm in FIRST:
        found = json.loads((finished / "cells" / "dyck-0-draw0" / f"{arm.name}.json").read_text())
        assert 0 <= found["greedy"] <= 1


def test_the_page_is_made_of_what_is_there(finished):
    results = read_results(finished)
    text = page(results)
    assert [arm.name for arm in FIRST if f"| `{arm.name}` |" not in text] == []
    assert [t["task"] for t in results["mistakes"]] == [TASKS[0]]


def test_the_page_says_which_arms_were_left_out(finished):
    told = page(read_results(finished)).split("Left out, of the arms of on-policy.md: ")[1].split("\n")[0]
    left, why = told.split(". ", 1)
    assert left == "`right_only_samples` and `nft`"
    assert why.startswith("The teacher writes no more, so there is no `right_only_samples`")


def test_nothing_is_claimed_of_students_of_a_single_draw(finished):
    text = page(read_results(finished)).partition("## Who finds")[0]
    assert "none is decidedly better; none is decidedly worse." in text
    assert "**+**" not in text
    assert "undecided" in text


def test_a_second_call_makes_what_is_missing_and_nothing_else(finished, data, tmp_path):
    out = tmp_path / "again"
    shutil.copytree(finished, out)
    lost = students(data, out)[-1]
    assert lost.name == LOCATED
    lost.file.unlink()
    kept = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/*.json")}
    for cell in students(data, out):
        run_cell(cell)
    assert lost.finished() is not None
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_cell_of_other_data_is_not_taken_for_this_one(finished, data, tmp_path):
    other = tmp_path / "data"
    shutil.copytree(data, other)
    path = other / TRACES.format(task=TASKS[0])
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert choice_cells(data, finished, TINY)[0].finished() is not None
    assert choice_cells(other, finished, TINY)[0].finished() is None


def test_the_traces_held_out_are_drawn_anew_and_never_trained_on(data, tmp_path):
    first, second = (Students("dyck", 0, seed, tmp_path, TINY, data=data) for seed in (0, 1))
    assert first.rows["held_out"] != second.rows["held_out"]
    assert not {r["prompt"] for r in first.rows["train"]} & {r["prompt"] for r in first.rows["held_out"]}


def test_nothing_held_out_or_asked_is_a_renaming_of_what_is_learned(data, tmp_path):
    place = Students("dyck", 0, 0, tmp_path, TINY, data=data)
    assert forms_that_meet(place) == set()
    assert {side: len(rows) for side, rows in place.rows.items()} == {"train": 70, "held_out": 30}


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize("seed", [0, OUTSIDE])
def test_none_of_the_teachers_real_prompts_is_met_again_with_its_brackets_renamed(seed, tmp_path):
    place = Students("dyck", 0, seed, tmp_path, SIZE, data=SHARED)
    assert forms_that_meet(place) == set()
    assert len(place.problems["test"]) == len(forms(place.problems["test"])) == SIZE.test_prompts
    assert len(place.rows["held_out"]) == round(SIZE.held_out * len(place.traces))


def test_a_cell_that_was_split_by_exact_prompts_is_made_again(finished, data, tmp_path):
    out = tmp_path / "old"
    shutil.copytree(finished, out)
    cell = students(data, out)[0]
    found = cell.finished()
    assert found is not None
    assert found["asked"].pop("split") == "by renaming"
    cell.file.write_text(json.dumps(found))
    assert cell.finished() is None


def test_the_oracles_drop_the_marked_step_and_what_is_behind_it(data, tmp_path):
    place = Students("dyck", 0, 0, tmp_path, TINY, data=data)
    row = next(r for r in place.traces if r["marked"] is not None)
    step, behind = (place.weighed(row, 0.0, behind=behind) for behind in (False, True))
    tokens = place.tokenizer.tokenize(row["completion"].split("\n")[row["marked"]] + "\n")
    assert sum(weight == 0 for weight in step) == len(tokens)
    assert behind[-1] == 0
    assert step[-1] == 1
    assert place.weighed(row, -0.3, behind=False) == [weight or -0.3 for weight in step]


def test_right_answers_are_counted_by_problem(data, tmp_path):
    place, problems = Students("dyck", 0, 0, tmp_path, TINY, data=data), ["( [", "{"]
    written = [Completion(f"So the answer is {answer}", "eos") for answer in ("] )", ")")]
    assert by_problem(problems, place.judged(problems, written)) == "10"


def test_the_folds_hold_each_problem_once(data, tmp_path):
    cells = [c for c in fold_cells("mistakes", data, tmp_path, FOLDS) if c.place.task == TASKS[0]]
    held_out = [row["prompt"] for c in cells for row in c.place.rows["held_out"]]
    assert len(held_out) == len(set(held_out)) == 100


@pytest.mark.parametrize("of", ["made", "teacher"])
def test_no_fold_is_asked_of_a_renaming_of_what_the_others_hold(of, data, tmp_path):
    if of == "teacher" and not SHARED.is_dir():
        pytest.skip("needs ../shared/data")
    first = fold_cells("mistakes", data if of == "made" else SHARED, tmp_path, FOLDS)[0].place
    assert first.task == TASKS[0]
    assert not forms(row["prompt"] for row in first.rows["train"]) & forms(
        row["prompt"] for row in first.rows["held_out"]
    )


def test_another_size_is_another_cell(finished, data):
    other = replace(TINY, start_steps=5)
    assert choice_cells(data, finished, other)[0].finished() is None


def test_no_finished_cell_is_an_error_that_says_what_to_run(tmp_path):
    with pytest.raises(ValueError, match=r"run python -m research.real_teacher --data DIR --out"):
        read_results(tmp_path)


def test_the_kept_page_is_made_from_the_kept_results():
    assert (DOCS / "real-teacher.md").read_text() == page(json.loads(KEPT.read_text()))
