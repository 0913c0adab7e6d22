"""Flat arrays of completion tokens against loops over the rows."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from research.real_code.rows import FOLDS
from research.real_code.tokens import Completions, read_signals


def row(completion: str, label: bool, part: int, **more) -> dict:
    task = f"t{part % 3}"
    return {"task_id": task, "prompt": "def f(x, y):\n", "completion": completion, "label": label, "part": part} | more


RIGHT = "    return x + y\n"
ROWS = [
    row(RIGHT, True, 0),
    row("    return x - y\n", False, 1, span=[12, 15]),
    row("    return x - y\n", False, 2, span=[0, 2]),  # within the indentation
    row("    return x + y\n", False, 3, span=[17, 17]),  # something was deleted at the end
    row("    s = y - x\n    return s - x * y\n", False, 4, span=[8, 28]),  # many tokens
    row(RIGHT, True, 5, span=[12, 15]),  # an equivalent mutant: right, though changed
    row("return x", False, 6, span=[0, 8]),  # the first token and all others
]


@pytest.fixture(scope="module")
def completions(code_tokenizer):
    return Completions.of(ROWS, code_tokenizer)


def extents(row: dict, tokenizer) -> list[tuple[int, int]]:
    """Characters of each token of the completion, EOS behind them."""
    found = tokenizer(row["completion"], add_special_tokens=False, return_offsets_mapping=True)
    end = len(row["completion"])
    return [*found["offset_mapping"], (end, end + 1)]


def by_row(completions: Completions, tokens: np.ndarray) -> list[list]:
    return [list(tokens[a:b]) for a, b in zip(completions.starts[:-1], completions.starts[1:], strict=True)]


def test_a_row_has_its_tokens_and_eos(completions, code_tokenizer):
    lengths = [len(extents(row, code_tokenizer)) for row in ROWS]
    assert np.diff(completions.starts).tolist() == lengths
    assert completions.n_tokens == sum(lengths)
    assert completions.row_of.tolist() == [i for i, n in enumerate(lengths) for _ in range(n)]
    assert completions.index.tolist() == [j for n in lengths for j in range(n)]


def test_wrong_tokens_are_those_of_the_span_of_a_wrong_row(completions, code_tokenizer):
    for row, wrong in zip(ROWS, by_row(completions, completions.wrong_token), strict=True):
        if row["label"]:
            assert not any(wrong)
            continue
        start, end = row["span"][0], max(row["span"][1], row["span"][0] + 1)
        expected = [a < end and b > start for a, b in extents(row, code_tokenizer)]
        assert wrong == expected
        assert any(expected)


def test_a_wrong_token_is_looked_for_behind_the_first_token_and_before_eos_of_wrong_rows(completions):
    for row, sought in zip(ROWS, by_row(completions, completions.sought), strict=True):
        inner = not row["label"]
        assert sought == [False, *[inner] * (len(sought) - 2), False]


def test_the_first_wrong_token_is_the_first_one_that_is_sought(completions):
    wrong = by_row(completions, completions.wrong_token)
    firsts = by_row(completions, completions.first_wrong)
    for i, first in enumerate(firsts):
        places = [j for j, x in enumerate(wrong[i]) if x and 0 < j < len(first) - 1]
        assert first == [j in places[:1] for j in range(len(first))], ROWS[i]
    assert [any(first) for first in firsts] == [False, True, False, False, True, False, True]


def test_rows_have_their_label_fold_and_task(completions):
    assert completions.right.tolist() == [row["label"] for row in ROWS]
    assert completions.fold.tolist() == [0, 1, 2, 3, 4, 0, 1]
    names = [row["task_id"] for row in ROWS]
    assert sorted(set(completions.task.tolist())) == [0, 1, 2]
    for i, j in np.ndindex(len(ROWS), len(ROWS)):
        assert (completions.task[i] == completions.task[j]) == (names[i] == names[j])


@pytest.mark.parametrize("kind", [np.float32, np.bool_, np.int64])
def test_padded_puts_each_row_into_one_of_its_own(completions, kind):
    tokens = (np.arange(completions.n_tokens) % 7 + 1).astype(kind)
    found = completions.padded(tokens)
    assert found.dtype == kind
    assert found.shape == (len(ROWS), max(map(len, by_row(completions, tokens))))
    for line, numbers in zip(found, by_row(completions, tokens), strict=True):
        assert line.tolist() == numbers + [0] * (found.shape[1] - len(numbers))


def test_fill_puts_the_lists_of_the_folds_back_in_their_rows(completions):
    numbers = np.random.default_rng(0).normal(size=completions.n_tokens)
    of_rows = by_row(completions, numbers)
    per_fold = [[of_rows[i] for i in range(len(ROWS)) if ROWS[i]["part"] % FOLDS == fold] for fold in range(FOLDS)]
    assert np.array_equal(completions.fill(per_fold), numbers)


def test_fill_refuses_another_number_of_rows_than_the_fold_has(completions):
    with pytest.raises(ValueError, match="zip"):
        completions.fill([[[1.0]], [], [], [], []])


def test_signals_of_the_folds_come_back_in_the_order_of_the_rows(completions, tmp_path):
    rng = np.random.default_rng(0)
    whole = {
        "surprisal": rng.random(completions.n_tokens).astype(np.float32),
        "states": rng.random((completions.n_tokens, 3)).astype(np.float16),
    }
    files = [tmp_path / f"{fold}.safetensors" for fold in range(FOLDS)]
    of_token = [ROWS[i]["part"] % FOLDS for i in completions.row_of]
    for fold, file in enumerate(files):
        at = [n for n, own in enumerate(of_token) if own == fold]
        save_file({name: array[at] for name, array in whole.items()}, file)
    found = read_signals(completions, files)
    assert found.keys() == whole.keys()
    for name, array in whole.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
