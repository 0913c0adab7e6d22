"""The study, cut short: every file is there, in its form, and a second call goes on where the first one stopped."""

import contextlib
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.console import Console

from research.chains import run as study
from research.chains.cells import study_cell
from research.chains.run import run_study, study_cells, study_chains
from research.chains.study import main
from research.chains.study_arms import ALL_ARMS, FULL, GATED_BY_QUARTER, LOG_ODDS, PRESETS, QUICK, Setting, with_needs
from weighted_mtp.data import share_right
from weighted_mtp.demo.arms import Arm
from weighted_mtp.demo.cells import Cell, read_chains, run_cells
from weighted_mtp.demo.draw import Budget, Draw, write_chains

TINY = Budget(steps=2, critic_steps=2, batch_size=16, test_prompts=24, curve_points=1)
QUICK_ARMS = {"uniform", "right_only", "td_whitened", "log_odds", "oracle", "shuffled_across"}
LOST = "log_odds"


@contextlib.contextmanager
def small_preset() -> Iterator[None]:
    """While inside, preset quick has 400 rows and two steps an arm."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "PRESETS", {"quick": ((replace(QUICK[0], n_traces=400),), 2)})
        patch.setattr(study, "POOL", 2_000)
        patch.setattr(study, "BUDGET", TINY)
        yield


@pytest.fixture(scope="module")
def finished(made_once):
    """The quick preset of one draw, by two workers: its folder, its results, and what it printed."""

    def make(out: Path) -> None:
        console = Console(record=True, width=100)
        with small_preset():
            results = run_study("quick", out, jobs=2, draws=1, console=console)
        assert results == json.loads((out / "results.json").read_text())
        (out / "printed.txt").write_text(console.export_text())

    out = made_once("study", make)
    return out, json.loads((out / "results.json").read_text()), (out / "printed.txt").read_text()


class Again(NamedTuple):
    """A second call: its folder, when each result was written before it, what it printed."""

    out: Path
    before: dict[str, int]
    printed: str


def written(out: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("cells/*/*/result.json")}


@pytest.fixture(scope="module")
def again(finished, tmp_path_factory):
    """`python -m research.chains.study` once more on a copy of the finished study that has lost a cell."""
    out = tmp_path_factory.mktemp("again") / "out"
    shutil.copytree(finished[0], out)
    before = written(out)
    shutil.rmtree(out / "cells" / "low_success-draw0" / LOST)
    (out / "results.json").unlink()
    words = ["--preset", "quick", "--out", str(out), "--draws", "1", "--jobs", "1"]
    with small_preset(), contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(words) == 0
    return Again(out, before, printed.getvalue())


def test_results_are_in_the_form_of_the_contract(finished):
    results = json.loads((finished[0] / "results.json").read_text())
    assert {a["arm"] for a in results["arms"]} >= QUICK_ARMS
    assert {(a["setting"], a["seed"]) for a in results["arms"]} == {("low_success", 0)}
    assert all(0 <= a["accuracy"] <= 1 for a in results["arms"])


def test_gated_is_kept_with_the_skill_that_it_mixed_by(finished):
    out, results, _ = finished
    told = json.loads((out / "cells" / "low_success-draw0" / "label_conditioned" / "skill.json").read_text())
    kept = {arm["arm"]: arm.get("skill") for arm in results["arms"]}
    assert kept.pop("gated") == {name: told[name] for name in ("gate", "auc", "within_prompts", "verdict")}
    assert set(kept.values()) == {None}


def test_localisation_is_under_meta(finished):
    localisation = finished[1]["meta"]["localisation"]
    assert set(localisation) == {"value_head", "log_odds"}
    assert all(0 <= entry["auc"] <= 1 for entry in localisation.values())


def test_the_label_conditioned_policy_stands_beside_log_odds(finished):
    assert "label_conditioned" in {a["arm"] for a in finished[1]["arms"]}


def test_text_and_pictures_are_written(finished):
    out = finished[0]
    text = (out / "study.md").read_text()
    assert "log_odds" in text
    pictures = sorted(path.name for path in out.glob("study-*.svg"))
    assert pictures
    assert all(f"({name})" in text for name in pictures)


def test_the_terminal_shows_a_row_an_arm(finished):
    assert all(name in finished[2] for name in QUICK_ARMS)


def test_a_second_call_trains_the_lost_cell_alone(again):
    after = written(again.out)
    assert len(again.before) == 9
    assert {arm for arm, time in after.items() if time != again.before[arm]} == {LOST}
    assert after.keys() == again.before.keys()


def test_a_cell_that_is_trained_again_comes_out_the_same(finished, again):
    results = json.loads((again.out / "results.json").read_text())
    assert [(a["arm"], a["accuracy"]) for a in results["arms"]] == [
        (a["arm"], a["accuracy"]) for a in finished[1]["arms"]
    ]


def test_the_command_line_shows_the_table_of_all_arms(again):
    assert all(name in again.printed for name in QUICK_ARMS)


def test_every_cell_of_the_presets_finds_what_it_needs_before_it(tmp_path):
    for settings, draws in PRESETS.values():
        seen: dict[tuple, set[str]] = {}
        for cell in study_cells(settings, draws, tmp_path, TINY):
            before = seen.setdefault((cell.setting, cell.seed), set())
            assert set(cell.arm.needs) <= before, cell
            before.add(cell.arm.name)


def test_the_full_preset_has_the_arms_of_the_issue():
    main_setting, *others = FULL
    names = {arm.name for arm in with_needs(main_setting.arms)}
    at_every_share = {
        "uniform", "right_only", "right_only_steps", "return_weighted", "td_beta0.3", "td_whitened", "log_odds",
        "gated", "gated_by_quarter", "implicit", "label_conditioned", "guided", "rho1", "oracle", "shuffled_across",
    }  # fmt: skip
    assert names >= at_every_share | {
        "td_beta0.9",
        "td_bce",
        "gae_whitened",
        "lognormal",
        "shuffled",
        "mtp_log_odds_position",
    }
    shares = {s.share_right for s in FULL if s.n_traces == 8_000}
    assert shares == {0.05, 0.15, 0.24, 0.50, 0.70}
    assert {s.n_traces for s in FULL} == {1_000, 8_000, 16_000}
    assert all({a.name for a in s.arms} == at_every_share for s in others if s.n_traces == 8_000)
    assert PRESETS["full"][1] >= 5


def test_a_name_means_one_arm():
    for settings, _ in PRESETS.values():
        assert all(ALL_ARMS[arm.name] == arm for s in settings for arm in s.arms)


def test_settings_of_a_draw_share_their_test_prompts_and_never_train_on_them():
    small, large = (study_chains(s, seed=3, test_prompts=50) for s in (FULL[-2], FULL[-1]))
    assert small.test == large.test
    held_out = {row["prompt"] for row in small.test}
    assert held_out == {row["prompt"] for row in small.fresh}
    assert held_out.isdisjoint(row["prompt"] for row in large.train)


@pytest.mark.parametrize("setting", FULL, ids=lambda s: s.name)
def test_a_setting_has_the_number_and_the_share_that_it_says(setting):
    rows = study_chains(setting, seed=0, test_prompts=50).train
    assert len(rows) == setting.n_traces
    assert share_right(rows) == pytest.approx(setting.share_right, abs=1e-9)


def test_rows_come_back_from_disk_and_the_oracle_drops_what_is_wrong(tmp_path):
    chains = study_chains(QUICK[0], seed=0, test_prompts=10)
    write_chains(tmp_path, chains)
    assert read_chains(tmp_path) == chains
    for line, row in zip((tmp_path / "oracle.jsonl").read_text().splitlines(), chains.train, strict=True):
        weights = json.loads(line)["weights"]
        assert weights == [0.0 if error else 1.0 for error in row["token_error"]] + [1.0]


def test_a_student_gated_by_quarter_has_a_weight_for_every_token_of_the_rows_that_have_any(tmp_path):
    setting = replace(QUICK[0], n_traces=400, arms=(GATED_BY_QUARTER,))
    cells = study_cells([setting], 1, tmp_path, TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "POOL", 2_000)
        chains = study_chains(setting, 0, TINY.test_prompts)
    cells[0].root.mkdir(parents=True)
    draw = Draw(setting.name, chains, 0, cells[0].root, cells[0].tracking_uri, TINY)
    draw.prepare()
    results = {cell.arm.name: study_cell(cell) for cell in cells}
    assert [*results] == ["label_conditioned", "gated", "gated_by_quarter"]
    rows = [json.loads(line) for line in (draw.root / "gated_by_quarter.jsonl").read_text().splitlines()]
    assert all(len(row["weights"]) == len(row["credit"]) and any(row["weights"]) for row in rows)
    assert results["gated_by_quarter"]["train_rows"] == len(rows) >= 96  # the right ones at least


def test_a_failed_training_is_told_and_not_swallowed(tmp_path):
    setting = Setting("low_success", 0.24, 200, (LOG_ODDS,))
    root = tmp_path / "draw"
    write_chains(root, study_chains(setting, 0, 10))  # and no base model
    cell = Cell("low_success", 0, root, f"sqlite:///{tmp_path}/mlflow.db", TINY, Arm("uniform"))
    with pytest.raises(ValueError, match="no model at"):
        list(run_cells([cell], 1, lambda _: None))


@pytest.mark.parametrize("words", [["--preset", "quik"], ["--jobs", "0"], ["--draws", "0"]])
def test_a_mistake_on_the_command_line_is_one_line(words, capsys):
    assert main(words) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
