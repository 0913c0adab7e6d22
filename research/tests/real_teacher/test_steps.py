"""Dyck's program and tokens, and steps against marks, by hand."""

import random

import numpy as np
import pytest

from research.real_teacher import dyck
from research.real_teacher.steps import found_steps, position_readings
from research.real_teacher.traces import read_traces, step_of_tokens
from weighted_mtp.data import DataError

TRACE = dyck.PHRASES[0] + '( ; stack: (\nSo, we need ")". So the answer is )'


def row(marked, label=False):
    return {"completion": "a\nb\nc\nd", "marked": marked, "label": label}


def test_a_tokenizer_keeps_the_text_and_makes_phrases_tokens():
    tokenizer = dyck.tokenizer([TRACE])
    ids = tokenizer(TRACE)["input_ids"]
    assert tokenizer.decode(ids) == TRACE
    assert tokenizer.tokenize(TRACE)[:4] == [dyck.PHRASES[0], "(", " ; stack:", " ("]


def test_a_line_break_belongs_to_the_step_that_it_ends_and_the_end_to_the_last():
    steps = step_of_tokens(dyck.tokenizer([TRACE]), TRACE)
    assert steps[:6] == [1, 2, 2, 2, 2, 3]
    assert set(steps[5:]) == {3}
    assert len(steps) == len(dyck.tokenizer([TRACE])(TRACE)["input_ids"]) + 1


def test_fresh_problems_have_the_lengths_of_the_teachers_and_are_none_of_them():
    some = dyck.problems(random.Random(0), [(8, 2)], 30)
    more = dyck.problems(random.Random(0), [(8, 2)], 30, some)
    assert {len(text.split()) for text in some + more} == {6}
    assert {len(dyck.closing(text).split()) for text in some + more} == {2}
    assert not set(some) & set(more)


def test_fresh_problems_are_renamings_neither_of_the_teachers_nor_of_one_another():
    some = dyck.problems(random.Random(0), [(8, 2)], 40)
    others = [list(dyck.renamed(text))[-1] for text in some]
    more = dyck.problems(random.Random(0), [(8, 2)], 40, others)
    assert len({dyck.canonical(text) for text in some + more}) == 80


def test_shapes_that_offer_too_few_problems_are_named_instead_of_drawn_for_ever():
    forms = {"( ) (", "( ) [", "( ( )", "( [ ]"}
    assert {dyck.canonical(text) for text in dyck.problems(random.Random(0), [(4, 1)], 4)} == forms
    with pytest.raises(ValueError, match=r"5 problems are asked for and 4 found: .*; ask for fewer, or"):
        dyck.problems(random.Random(0), [(4, 1)], 5)


@pytest.mark.parametrize("shape", [(5, 1), (4, 3), (4, 0)])
def test_a_shape_of_no_open_text_is_refused_instead_of_drawn_for_ever(shape):
    with pytest.raises(ValueError, match=f"no open text has {shape[1]} of {shape[0]} brackets"):
        dyck.problems(random.Random(0), [(4, 1), shape], 2)


def test_only_wrong_traces_with_a_mark_are_judged():
    rows = [row(1), row(1, label=True), row(None)]
    found = found_steps({"r": [[0.0, 1.0, 0.0, 0.0]] * 3}, rows)
    assert found["r"] == {"top1": [1.0], "auc": [1.0]}
    assert found["chance"]["top1"] == [0.25]


@pytest.mark.parametrize(
    ("scores", "top1", "auc"), [([0, 2, 1, 3], 0.0, 2 / 3), ([1, 1, 1, 1], 0.25, 0.5), ([3, 0, 2, 1], 0.0, 0.0)]
)
def test_top1_and_auc_by_hand(scores, top1, auc):
    found = found_steps({"r": [list(map(float, scores))]}, [row(1)])["r"]
    assert found == {"top1": [top1], "auc": [pytest.approx(auc)]}


def test_position_knows_where_marks_lie_elsewhere():
    found = found_steps(position_readings([row(2)], [row(2)] * 3), [row(2)])
    assert found["where marks lie elsewhere"]["top1"] == [1.0]
    assert found["the last step"]["top1"] == [0.0]
    assert np.isfinite([v["auc"][0] for v in found.values()]).all()


def test_data_that_is_not_there_is_told_in_a_line(tmp_path):
    with pytest.raises(DataError, match=r"dyck_languages.jsonl is not there: --data names the folder"):
        read_traces(tmp_path, "dyck_languages")


def test_a_row_without_a_column_is_told_with_its_line(tmp_path):
    path = tmp_path / "bigbench_mistake" / "word_sorting.jsonl"
    path.parent.mkdir()
    path.write_text('{"input": "b a", "steps": [], "target": "a b", "answer": "a b"}\n')
    with pytest.raises(DataError, match="line 1 has no mistake_index"):
        read_traces(tmp_path, "word_sorting")
