"""The demo, cut short: every file is there, in its form, and a second call goes on where the first one stopped."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from mlflow import MlflowClient
from rich.console import Console

from weighted_mtp.cli.main import main
from weighted_mtp.demo import main as demo
from weighted_mtp.demo.arms import CRITIC, FOUR_HEADS, NEXT_TOKEN
from weighted_mtp.demo.draw import Budget

SHORT = Budget(steps=4, critic_steps=4, batch_size=16, test_prompts=32, folds=2)


@contextlib.contextmanager
def few_rows() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "LOW_SUCCESS", replace(demo.LOW_SUCCESS, n_traces=1_000))
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished demo of one draw of 1,000 rows, a few steps an arm, and what it printed."""
    out = tmp_path_factory.mktemp("demo")
    console = Console(record=True, width=100)
    with few_rows():
        demo.run_demo(out, seeds=1, budget=SHORT, console=console)
    return out, console.export_text()


@pytest.fixture(scope="module")
def results(finished):
    return json.loads((finished[0] / "results.json").read_text())


def test_results_hold_every_arm_with_setting_seed_and_accuracy(results):
    expected = {arm.name for arm in (*NEXT_TOKEN, *FOUR_HEADS)}
    assert {entry["arm"] for entry in results["arms"]} == expected
    assert {(entry["setting"], entry["seed"]) for entry in results["arms"]} == {("low_success", 0)}
    assert all(0 <= entry["accuracy"] <= 1 for entry in results["arms"])


def test_results_say_how_long_the_reference_was_trained(results):
    assert "4 steps" in results["meta"]["rho1_reference"]


def test_every_arm_has_an_mlflow_run_with_its_name_and_draw(finished):
    client = MlflowClient(tracking_uri=f"sqlite:///{finished[0] / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("low_success")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    arms = {run.data.tags.get("arm") for run in runs} - {None}  # critics of the folds are of no arm
    assert arms == {a.name for a in (CRITIC, *NEXT_TOKEN, *FOUR_HEADS)}
    assert all("train/loss" in run.data.metrics for run in runs)


def test_the_terminal_shows_a_row_an_arm(finished):
    assert all(arm.name in finished[1] for arm in (*NEXT_TOKEN, *FOUR_HEADS))


def test_the_page_shows_tokens_and_asks_for_nothing(finished):
    page = (finished[0] / "report.html").read_text()
    assert "Token by token" in page
    assert "http://" not in page
    assert "https://" not in page


def test_training_and_test_prompts_of_a_draw_are_disjoint(finished):
    def prompts(name: str) -> set[str]:
        lines = (finished[0] / "draw0" / f"{name}.jsonl").read_text().splitlines()
        return {json.loads(line)["prompt"] for line in lines}

    assert prompts("train").isdisjoint(prompts("test"))


def test_a_second_call_trains_nothing_again(finished):
    run_files = sorted((finished[0] / "draw0").glob("*/result.json"))
    before = [path.stat().st_mtime_ns for path in run_files]
    with few_rows():
        demo.run_demo(finished[0], seeds=1, budget=SHORT, console=Console(quiet=True))
    assert [path.stat().st_mtime_ns for path in run_files] == before


def test_a_finished_arm_can_be_inspected(finished, capsys):
    assert main(["inspect", str(finished[0] / "draw0" / "td_whitened"), "--rows", "[0,3]"]) == 0
    assert "<eos>" in capsys.readouterr().out


def test_an_arm_of_the_demo_generates_text(finished, capsys):
    words = ["generate", str(finished[0] / "draw0" / "uniform"), "--prompt", "7 +3 :", "--max_new_tokens", "3"]
    assert main(words) == 0


def test_arms_of_a_draw_start_from_the_same_model(finished):
    configs = [(finished[0] / "draw0" / arm.name / "run.yaml").read_text() for arm in NEXT_TOKEN]
    starts = {line for text in configs for line in text.splitlines() if line.startswith("model_name_or_path")}
    assert len(starts) == 1


def test_rows_of_another_budget_do_not_stay(tmp_path):
    def test_prompts(budget: Budget) -> set[str]:
        draw = demo.demo_draw(0, tmp_path, "sqlite://", budget)
        draw.prepare()
        return {row["prompt"] for row in draw.chains.test}

    test_prompts(Budget(test_prompts=8))
    held_out = test_prompts(Budget(test_prompts=64))
    trained = {json.loads(line)["prompt"] for line in (tmp_path / "draw0" / "train.jsonl").read_text().splitlines()}
    assert held_out.isdisjoint(trained)
