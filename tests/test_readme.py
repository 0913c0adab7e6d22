"""The two READMEs say the same, and their numbers and their picture come from the demo's files."""

import json
import os
import re
import runpy
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGLISH, KOREAN = ROOT / "README.md", ROOT / "README.ko.md"
RESULTS = ROOT / "docs" / "results" / "demo.json"


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def without_code(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(ROOT / "examples" / "readme_table.py"))


# English and Korean


def test_both_have_the_same_headings():
    levels = [re.findall(r"^(#+) ", without_code(page), flags=re.MULTILINE) for page in (ENGLISH, KOREAN)]
    assert levels[0] == levels[1]


def test_both_have_the_same_code():
    english, korean = (re.findall(r"^```.*?^```$", text_of(p), flags=re.S | re.M) for p in (ENGLISH, KOREAN))
    assert english == korean


def test_both_have_tables_of_the_same_shape_and_numbers():
    def cells(page: Path) -> list[list[str]]:
        rows = re.findall(r"^\|(.*)\|$(?!\n\|---)", without_code(page), flags=re.MULTILINE)  # headers differ
        return [[cell.strip() for cell in row.split("|")] for row in rows]

    english, korean = ([[row[0], *row[2:]] for row in cells(page)] for page in (ENGLISH, KOREAN))
    assert english == korean


def test_both_link_to_the_same_places():
    english, korean = (re.findall(r"\]\(([^)]+)\)", without_code(page)) for page in (ENGLISH, KOREAN))
    assert set(english) - {"README.ko.md"} == set(korean) - {"README.md"}


def test_each_links_to_the_other():
    assert "](README.ko.md)" in text_of(ENGLISH)
    assert "](README.md)" in text_of(KOREAN)


def test_the_torch_to_install_is_the_one_of_the_constraints():
    (version,) = re.findall(r"pip install (torch==\S+)", text_of(ENGLISH))
    assert version in pins()


def test_the_constraints_fit_torch_with_cuda():
    """Which asks for one triton exactly; to a freeze beside the CPU's torch, which needs none, any would do."""
    assert [pin for pin in pins() if pin.startswith(("torch==", "triton=="))] == ["torch==2.13.0", "triton==3.7.1"]


def pins() -> list[str]:
    return [line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]


# the table


@pytest.mark.parametrize("page", [ENGLISH, KOREAN], ids=lambda page: page.name)
def test_the_table_is_made_from_the_results(script, page):
    made = script["table"](json.loads(RESULTS.read_text()), script["language_of"](page))
    assert script["insert"](text_of(page), made) == text_of(page)


def results(**accuracies: list[float]) -> dict:
    """results.json of arms with one accuracy a draw."""
    from weighted_mtp.evaluation.intervals import summarise

    arms = [
        {"arm": arm, "seed": seed, "accuracy": accuracy}
        for arm, draws in accuracies.items()
        for seed, accuracy in enumerate(draws)
    ]
    draws = range(max(map(len, accuracies.values())))
    meta = {
        "summary": summarise(arms, dict.fromkeys(accuracies, "uniform")),
        "share_right": {str(seed): 0.7 for seed in draws},
        "budget": {"steps": 120, "critic_steps": 300, "test_prompts": 500},
        "minutes": 4.26,
        "date": "2026-01-02 03:04 UTC",
        "versions": "weighted-mtp 0.1.0, torch 2.13.0",
        "python": "3.11.7",
        "machine": "x86_64, Linux",
    }
    return {"arms": arms, "meta": meta}


def test_a_row_holds_mean_spread_and_paired_differences(script):
    made = script["table"](results(uniform=[0.5, 0.6, 0.6], right_only=[0.9, 0.8, 1.0]), "en")
    # differences .4 .2 .4: mean .333, std .115, t(2) 4.303: half width .287
    assert "| 90.0 ± 10.0 | +33.3 [+4.6, +62.0] |  |" in made
    assert "| 56.7 ± 5.8 |  | −33.3 [−62.0, −4.6] |" in made


def test_one_draw_has_no_spread_and_no_interval(script):
    made = script["table"](results(uniform=[0.5], right_only=[0.75]), "en")
    assert "| 75.0 | +25.0 [–] |  |" in made


def test_the_table_names_draws_date_versions_and_that_the_task_is_made(script):
    made = script["table"](results(uniform=[0.5, 0.6]), "en")
    for part in ("A made task (70 %", "2 draws", "500 unseen", "2026-01-02", "torch 2.13.0", "4.3 minutes"):
        assert part in made


def test_inserting_leaves_the_rest_of_the_page(script):
    page = "before\n<!-- demo:begin -->\nold\n<!-- demo:end -->\nafter\n"
    assert script["insert"](page, "new") == page.replace("old", "new")


# the picture


def test_the_picture_is_small_enough_for_a_readme():
    assert (ROOT / "docs" / "images" / "tokens.png").stat().st_size < 150_000


def test_the_picture_shows_the_completions_of_a_report(tmp_path):
    if not (shutil.which("chromium") or shutil.which("google-chrome")) or not shutil.which("chromedriver"):
        reason = "left out: chromium and chromedriver are not both installed (Debian: chromium-driver)"
        pytest.fail(reason) if os.environ.get("REQUIRE_BROWSER") == "1" else pytest.skip(reason)
    picture = runpy.run_path(str(ROOT / "examples" / "picture_tokens.py"))["picture"]
    heights = [height_of(picture(report(tmp_path, completions))) for completions in (1, 4)]
    assert 100 < heights[0] < heights[1]


def height_of(png: bytes) -> int:
    assert png.startswith(b"\x89PNG")
    return int.from_bytes(png[20:24], "big")


def report(folder: Path, completions: int) -> Path:
    from weighted_mtp.demo.page.content import PageContent
    from weighted_mtp.demo.page.page import write_page
    from weighted_mtp.reports.token_view import TokenView

    view = TokenView(
        prompt="7 +3 :", label=False, tokens=["4", "<eos>"], weights=[0.2, 0.9], td_errors=[-0.5, 0.0],
        values=[0.7, 0.2], token_error=[True, False], arm="td_beta0.3",
    )  # fmt: skip
    row = {"arm": "uniform", "mean": 0.7, "std": None, "n": 1, "diff": None, "low": None, "high": None}
    content = PageContent(
        title="t", lead="l", summary=[row], accuracies=[{"arm": "uniform", "seed": 0, "accuracy": 0.7}],
        examples=[view] * completions,
    )  # fmt: skip
    return write_page(folder / f"{completions}.html", content)
