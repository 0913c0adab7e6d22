"""The measured part of the document of real code: every number from the results, whatever is finished."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from research.real_code.report.markdown import real_code_markdown
from research.real_code.report.measures import AUC, Estimate
from research.real_code.report.numbers import Difference
from research.real_code.report.pictures import write_pictures
from research.real_code.report.words import claim
from research.tests.real_code.report.made_results import interval, real_code, without_bounds

HEADINGS = [
    "Who finds the wrong token", "Who tells right from wrong", "What students learn", "Rows and cost",
    "Worth knowing", "How this was made",
]  # fmt: skip


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def headings(document: str) -> list[str]:
    return re.findall(r"^## (.*)$", document, re.MULTILINE)


def spellings(results: Any) -> Iterator[str]:
    """Every way in which a number of the results may be written."""
    if isinstance(results, Mapping):
        for value in results.values():
            yield from spellings(value)
    elif isinstance(results, list):
        yield str(len(results))
        for value in results:
            yield from spellings(value)
    elif isinstance(results, int | float):
        yield from (f"{results:,}", f"{abs(results):.3f}", f"{abs(100 * results):.1f}", f"{results:.2f}")


def sums(results: dict[str, Any]) -> Iterator[str]:
    """Rows over sources, CPU minutes over folds and jobs."""
    for key in ("tasks", "right", "wrong"):
        yield str(sum(source[key] for source in results["data"]["sources"].values()))
    by_job = list(results["jobs"].values())
    for jobs in (*by_job, [job for held in by_job for job in held]):
        train, test = (sum(job[f"{side}_cpu_seconds"] for job in jobs) for side in ("train", "test"))
        yield from (str(len(jobs)), *(f"{seconds / 60:,.1f}" for seconds in (train, test, train + test)))


def compared(name: str, bar: str, difference: dict[str, Any]) -> dict[str, Any]:
    results = real_code(critics=["generative", "implicit"])
    results["critics"]["all"]["localisation"][name]["auc_over"][bar] = difference
    return results


def test_a_whole_experiment_has_every_section() -> None:
    assert headings(real_code_markdown(real_code(), {})) == HEADINGS


def test_every_number_is_in_the_results_or_a_sum_of_them() -> None:
    results = real_code()
    text = plain(real_code_markdown(results, {})).partition("## How this was made")[0]
    text = re.sub(
        r"top-1|pass@1|95 %|(?:excludes|contains) 0|fold \d|\d+ differences|p \d\.\d+", "", text, flags=re.IGNORECASE
    )
    found = re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", text)

    assert len(found) > 500
    assert set(found) - {*spellings(results), *sums(results)} == set()


def test_results_read_back_from_json_give_the_same_text() -> None:
    assert real_code_markdown(json.loads(json.dumps(real_code())), {}) == real_code_markdown(real_code(), {})


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (interval(0.068, 0.01), "Alone, generative (+0.068) beats surprisal (AUC 0.834)"),
        (interval(-0.068, 0.01), "Alone, no critic beats surprisal (AUC 0.834)"),
        (interval(0.068, 0.1), "Alone, no critic beats surprisal (AUC 0.834)"),
    ],
)
def test_the_claim_is_what_the_interval_says(difference: dict[str, Any], words: str) -> None:
    assert claim(compared("generative", "surprisal", difference)).startswith(words)


def test_the_claim_names_all_that_improve_the_fit() -> None:
    results = compared("implicit + all untrained", "surprisal, entropy, position", interval(0.02, 0.01))

    assert (
        "beside surprisal, entropy and position (AUC 0.863 together), generative (+0.012) and implicit (+0.020)"
        " improve the fit. That is not corrected for the 11 differences of AUC"
    ) in claim(results)


@pytest.mark.parametrize(
    ("half", "leaves"), [(0.005, "all of it standing"), (0.019, "implicit + all untrained undecided")]
)
def test_the_claim_says_what_of_it_the_correction_leaves_undecided(half: float, leaves: str) -> None:
    results = compared("implicit + all untrained", "surprisal, entropy, position", interval(0.02, half))

    assert "implicit (+0.020) improve the fit." in claim(results)
    assert claim(results).endswith(f"Holm's correction leaves {leaves}.")


def test_the_notes_name_what_the_correction_leaves_undecided() -> None:
    results = compared("implicit + all untrained", "surprisal, entropy, position", interval(0.02, 0.019))

    assert (
        "implicit + all untrained against surprisal, entropy, position (finding the wrong token, AUC, p 0."
        in real_code_markdown(results, {})
    )


def test_a_p_value_is_that_of_a_normal_distribution_as_wide_as_the_interval() -> None:
    entry = Difference("a", "b", AUC, Estimate(0.02, 0.0, 0.04))

    assert entry.p == pytest.approx(0.05)
    assert replace(entry, estimate=Estimate(0.02, None, None)).p is None


def test_without_bounds_nobody_wins() -> None:
    text = real_code_markdown(without_bounds(real_code()), {})

    assert re.findall(r"\b(?:wins|undecided|loses|higher|lower) \|", text) == []
    assert "−0.358 no interval |" in text
    assert "no critic beats surprisal" in text


def test_without_a_critic_the_untrained_model_is_shown() -> None:
    text = real_code_markdown(real_code(critics=[]), {})

    assert "**No critic is finished.**" in text
    assert "| surprisal | 0.834 [" in text
    assert "critics/" not in text
    assert headings(text) == HEADINGS


def test_without_a_student_there_is_no_section_of_them() -> None:
    text = real_code_markdown(real_code(students=["untrained"]), {})

    assert headings(text) == [heading for heading in HEADINGS if heading != "What students learn"]
    assert "pass@1" not in text


@pytest.mark.parametrize("missing", ["data", "critics", "students", "jobs"])
def test_a_section_may_be_missing(missing: str) -> None:
    results = {key: value for key, value in real_code().items() if key != missing}
    text = real_code_markdown(results, {})

    assert "None" not in text
    assert "\n\n\n" not in text


def test_every_row_of_a_table_has_as_many_cells_as_its_heading() -> None:
    for block in real_code_markdown(real_code(), {}).split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_pictures_are_shown_by_the_address_given(tmp_path: Path) -> None:
    addresses = {name: f"images/{path.name}" for name, path in write_pictures(real_code(), tmp_path).items()}
    text = real_code_markdown(real_code(), addresses | {"unknown": "x.svg"})

    assert set(re.findall(r"\]\(([^)]+)\)", text)) == set(addresses.values())
    assert "](" not in real_code_markdown(real_code(), {})
