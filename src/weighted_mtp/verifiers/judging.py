"""Judging as work of an engine: a verifier that is made anew in each worker."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from weighted_mtp.engine.parts import parts_of, rows_in_order
from weighted_mtp.engine.settings import EngineSettings
from weighted_mtp.verifiers.base import Judgement, Verifier, VerifierError, unless_all_raise

_PART = 256  # rows


def judged_in_parts(
    engine: EngineSettings, verifier: Verifier, rows: Sequence[Mapping[str, Any]], known: int, out: Path
) -> Iterator[Judgement]:
    """Judgements of the rows behind the first `known`, in order; parts that are made early wait beside `out`."""
    depends = type(verifier).__qualname__, made_with(verifier)
    parts, done = parts_of(rows, known, None if engine.alone else _PART, depends)
    judged = rows_in_order(engine, Judging(verifier), parts, out)
    found = (Judgement(**one) for one in islice(judged, done, None))
    return unless_all_raise(found, lambda one: one.reason)


def made_with(verifier: Verifier) -> dict[str, Any]:
    """The options that a verifier was made with, but for how many rows it judges at a time."""
    options = inspect.signature(type(verifier)).parameters
    return {name: getattr(verifier, name, None) for name in options if name != "workers"}


class Judging:
    """Judges the rows of a part; pickled, it is the verifier's class and options."""

    def __init__(self, verifier: Verifier) -> None:
        self._kind, self._options, self._verifier = type(verifier), made_with(verifier), verifier

    def __getstate__(self) -> dict[str, Any]:
        for name in self._options:
            if not hasattr(self._verifier, name):
                raise VerifierError(
                    f"{self._kind.__name__} takes `{name}` and has no attribute of that name: keep it under one, so "
                    "that workers can make the verifier anew"
                )
        return self.__dict__ | {"_verifier": None}

    def judge_all(self, cores: int | None) -> Callable[[Iterable[Mapping[str, Any]]], Iterator[Judgement]]:
        """What gives judgements, `cores` rows at a time where rows are run."""
        if self._verifier is None:
            limit = {"workers": cores} if "workers" in inspect.signature(self._kind).parameters else {}
            self._verifier = self._kind(**self._options, **limit)
        return self._verifier.judge_all

    def open(self, cores: int | None) -> Callable[[Any], Iterator[dict[str, Any]]]:
        """Judgements, as dicts, of the rows of a part."""
        judge_all = self.judge_all(cores)
        return lambda rows: (judged._asdict() for judged in judge_all(rows))
