"""What the experiment on real code prints at its end."""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from research.real_code.report.terminal import print_real_code
from research.tests.real_code.report.made_results import CRITICS, real_code, without_bounds


def printed(results: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=80, no_color=True)
    print_real_code(console, results)
    return console.file.getvalue()  # type: ignore[attr-defined]


def cells(text: str, name: str) -> list[str]:
    lines = (line for line in text.splitlines() if re.match(rf"{re.escape(name)} +[-+\d]", line))
    return next(lines).removeprefix(name).split()


def test_methods_stand_beside_what_they_have_to_beat() -> None:
    text = printed(real_code())

    assert cells(text, "generative + all untrained") == ["0.875", "+0.012*", "34.0", "+1.0"]
    assert cells(text, "value-lora-mlp + surprisal, length") == ["0.604", "0.808", "0.000", "0.038"]
    assert cells(text, "right-only - uniform") == ["-0.032*", "-0.055*", "+0.010", "-0.030*", "+1.0", "+0.9"]


def test_eighty_columns_of_ascii_suffice() -> None:
    text = printed(real_code())

    assert text.isascii()
    for critic in CRITICS:
        for beside in ("", " + surprisal", " + all untrained", " + surprisal, length"):
            assert cells(text, f"{critic}{beside}")  # on one line
    assert max(map(len, text.splitlines())) <= 80


def test_without_bounds_nothing_is_marked() -> None:
    assert printed(without_bounds(real_code())).count("*") == 1  # the legend


@pytest.mark.parametrize(
    ("finished", "missing"), [({"critics": []}, "generative"), ({"students": ["untrained"]}, "students, nats")]
)
def test_what_is_not_finished_is_left_out(finished: dict[str, Any], missing: str) -> None:
    assert missing not in printed(real_code(**finished))


def test_an_empty_experiment_prints_no_table() -> None:
    assert printed({}).splitlines() == ["* the paired 95 % interval over tasks excludes 0."]
