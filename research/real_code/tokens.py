"""Every completion token of the rows with all that is said of it, in flat arrays: what is judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from research.real_code.rows import Row, fold_of
from weighted_mtp import IGNORED
from weighted_mtp.data import load_rows, tokenize_rows

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Completions:
    """The rows, and where the labelled tokens (EOS included) of each lie in flat arrays of tokens."""

    rows: list[Row]
    starts: NDArray[np.int64]
    """[N + 1]: tokens of row i are starts[i] .. starts[i + 1]."""
    ids: NDArray[np.int64]
    """[n], the tokens."""
    wrong_token: NDArray[np.bool_]
    """[n], True where a token overlaps the mutated span of a wrong row."""

    @classmethod
    def of(cls, rows: Sequence[Row], tokenizer: Any) -> "Completions":
        """Tokenizes them as training does."""
        dataset, _ = tokenize_rows(load_rows(list(rows))[0], tokenizer)
        errors = list(dataset["token_error"])
        starts = np.concatenate([[0], np.cumsum([len(row) for row in errors])])
        labels = np.concatenate(list(dataset["labels"]))
        return cls(list(rows), starts, labels[labels != IGNORED], np.concatenate(errors).astype(bool))

    @property
    def n_tokens(self) -> int:
        """Labelled tokens of all rows."""
        return int(self.starts[-1])

    @property
    def row_of(self) -> NDArray[np.int64]:
        """[n], the row of each token."""
        return np.repeat(np.arange(len(self.rows)), np.diff(self.starts))

    @property
    def index(self) -> NDArray[np.int64]:
        """[n], each token's place in its completion, from 0."""
        return np.arange(self.n_tokens) - self.starts[self.row_of]

    @property
    def right(self) -> NDArray[np.bool_]:
        """[N], whether a row is right."""
        return np.array([bool(row["label"]) for row in self.rows])

    @property
    def fold(self) -> NDArray[np.int64]:
        """[N], the fold that tests a row."""
        return np.array([fold_of(row) for row in self.rows])

    @property
    def task(self) -> NDArray[np.int64]:
        """[N], a number for each row's task, from 0."""
        return np.unique([row["task_id"] for row in self.rows], return_inverse=True)[1]

    @property
    def counted(self) -> NDArray[np.bool_]:
        """[n], all tokens but the first of each completion, whose loss counts nowhere.

        It is the indentation, which the tokenizer splits from the prompt's line break, so that the untrained model
        finds it the most surprising of all, and any training makes it the least.
        """
        return self.index > 0

    @property
    def sought(self) -> NDArray[np.bool_]:
        """[n], tokens among which a wrong one is looked for: of wrong rows, without the first and without EOS."""
        row, place = self.row_of, np.arange(self.n_tokens)
        return ~self.right[row] & self.counted & (place < self.starts[row + 1] - 1)

    @property
    def first_wrong(self) -> NDArray[np.bool_]:
        """[n], the first sought token of each row that is wrong."""
        at = np.flatnonzero(self.wrong_token & self.sought)
        found = np.zeros(self.n_tokens, np.bool_)
        found[at[np.unique(self.row_of[at], return_index=True)[1]]] = True
        return found

    def bugs_and_fixes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Minimal pairs: places of first wrong tokens, and of the tokens that right completions have instead.

        The right completion is the first of the same task with the same tokens before and another one there; bugs
        without one are left out.
        """
        row_of, task, right = self.row_of, self.task, np.flatnonzero(self.right)
        found: list[tuple[int, int]] = []
        for bug in np.flatnonzero(self.first_wrong).tolist():
            row = row_of[bug]
            fixes = (self._instead(bug, row, other) for other in right[task[right] == task[row]])
            found += [(bug, fix) for fix in fixes if fix is not None][:1]
        bugs, fixed = np.array(found, np.int64).reshape(-1, 2).T
        return bugs, fixed

    def _instead(self, place: int, row: int, other: int) -> int | None:
        """Where row `other` has another token than `row` has at `place` and the same before; None where it does not."""
        start = self.starts[other]
        fix = start + place - self.starts[row]
        if fix >= self.starts[other + 1] or self.ids[fix] == self.ids[place]:
            return None
        same = np.array_equal(self.ids[start:fix], self.ids[self.starts[row] : place])
        return int(fix) if same else None

    def row_means(self, tokens: NDArray[Any]) -> Numbers:
        """[N], the mean of a flat array over the counted tokens of each row."""
        counted = np.where(self.counted, np.asarray(tokens, np.float64), 0.0)
        return np.add.reduceat(counted, self.starts[:-1]) / (np.diff(self.starts) - 1)

    def padded(self, tokens: NDArray[Any]) -> NDArray[Any]:
        """[N, T], a flat array with a row for each completion, 0 behind its end."""
        out = np.zeros((len(self.rows), int(np.diff(self.starts).max())), tokens.dtype)
        out[self.row_of, self.index] = tokens
        return out

    def fill(self, per_fold: Sequence[Sequence[Sequence[float]]]) -> Numbers:
        """A flat array from each fold's rows of lists, in the order of its test file."""
        flat = np.full(self.n_tokens, np.nan)
        for fold, lists in enumerate(per_fold):
            for i, numbers in zip(np.flatnonzero(self.fold == fold), lists, strict=True):
                flat[self.starts[i] : self.starts[i + 1]] = numbers
        return flat


def read_signals(completions: Completions, files: Sequence[Path]) -> dict[str, NDArray[Any]]:
    """The arrays that `write_signals` left, a file for each fold, put in the order of the rows: [n] or [n, dim]."""
    parts = [load_file(file) for file in files]
    fold_of_token = completions.fold[completions.row_of]
    whole: dict[str, NDArray[Any]] = {}
    for name, first in parts[0].items():
        whole[name] = np.empty((completions.n_tokens, *first.shape[1:]), first.dtype)
        for fold, part in enumerate(parts):
            whole[name][fold_of_token == fold] = part[name]
    return whole
