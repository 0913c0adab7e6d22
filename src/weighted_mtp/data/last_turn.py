"""Spans and steps, which are in characters of a row's completion, on the tokens of its last learned turn."""

from collections.abc import Sequence
from dataclasses import dataclass

from .borders import Continuation
from .chat import Written
from .fields import DataError
from .schema import Row


@dataclass(frozen=True)
class LastTurn:
    """The tokens of the last turn that is learned, which is where the completion stands, among all learned tokens."""

    row: Row
    written: Written
    tokens: Continuation
    """Without an EOS that was appended."""
    n_learned: int
    """Labelled tokens of all turns, EOS included."""
    n_last: int
    """Those of this turn."""

    @property
    def n_end(self) -> int:
        """Tokens of its end, which lists may leave out."""
        return self.n_last - len(self.tokens.ids) or int(self.written.ends_itself)

    def token_error(self) -> list[bool] | None:
        """Which labelled tokens are wrong, by the span of a wrong row; None where that is not known."""
        if self.row["label"]:
            return [False] * self.n_learned
        if "span" not in self.row or self.tokens.extents is None or not self.written.says_completion:
            return None
        ends = [(len(self._text), len(self._text) + 1)] * (self.n_last - len(self.tokens.ids))
        wrong = overlapping([*self.tokens.extents, *ends], [self._at + place for place in self.row["span"]])
        return [False] * (self.n_learned - self.n_last) + wrong

    def rewards(self, outcome: float) -> tuple[list[float], list[float]]:
        """What each labelled token is paid: a step at the token that holds its last character (at the very last token,
        where it ends with the completion), else the outcome; and the reward of the step that each belongs to."""
        paid, of_step = [0.0] * self.n_learned, [outcome] * self.n_learned
        if "steps" not in self.row:
            return [*paid[:-1], outcome], of_step
        if self.tokens.extents is None or not self.written.says_completion:
            raise DataError("`steps` are of the last turn, and that is not learned")
        first = self.n_learned - self.n_last
        for step in self.row["steps"]:
            end = self._at + step["end"]
            reach = [k for k, (_, stop) in enumerate(self.tokens.extents) if stop >= end]
            held = [k for k in reach if self.tokens.extents[k][0] < end] or reach[:1]  # the last byte of a character
            whole = not held or step["end"] == len(self.row["completion"])
            place = self.n_learned - self.n_last + (self.n_last - 1 if whole else held[-1])
            paid[place] += step["reward"]
            of_step[first : place + 1] = [step["reward"]] * (place + 1 - first)
            first = max(first, place + 1)
        of_step[first:] = [self.row["steps"][-1]["reward"]] * (self.n_learned - first)
        return paid, of_step

    @property
    def _text(self) -> str:
        return self.written.texts[len(self.written.texts) // 2 * 2 - 1]

    @property
    def _at(self) -> int:
        """Where the completion begins: a template may write something before it."""
        return max(self._text.rfind(self.row["completion"]), 0)


def overlapping(extents: Sequence[tuple[int, int]], span: Sequence[int]) -> list[bool]:
    """Which tokens share a character with the span; of an empty one (something was deleted), the token at its start.
    White space that offsets leave out is the next token's, else the last's.

    Examples:
        >>> overlapping([(0, 3), (3, 5), (5, 9)], [4, 6])
        [False, True, True]
        >>> overlapping([(0, 3), (3, 5), (5, 9)], [3, 3])
        [False, True, False]
        >>> overlapping([(0, 3), (4, 5)], [3, 4])
        [False, True]
    """
    start, end = span[0], max(span[1], span[0] + 1)
    hit = [first < end and last > start for first, last in extents]
    if not any(hit):
        hit[next((i for i, (first, _) in enumerate(extents) if first >= start), -1)] = True
    return hit
