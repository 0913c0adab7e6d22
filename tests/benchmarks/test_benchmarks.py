"""The benchmarks run, and their page holds what the results say. Nothing here is timed."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks import convert, figures, gpu, headline, loss, scan, steps
from benchmarks.harness import growth_slope, ratio, read_results
from benchmarks.page import page
from benchmarks.turns import Turnstile
from tests.forked import start

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


# the page


def test_the_page_is_the_one_that_the_results_give():
    assert (DOCS / "benchmarks.md").read_text(encoding="utf-8") == page()


@pytest.mark.parametrize(("name", "language"), headline.LANGUAGES.items())
def test_the_readmes_say_what_the_results_give(name, language):
    assert headline.block_of((ROOT / name).read_text(encoding="utf-8")) == headline.headline(language)


def test_the_pictures_of_the_page_are_those_that_are_drawn(tmp_path):
    drawn = {path.name for path in figures.draw_all(tmp_path)}
    assert set(re.findall(r"\(images/(bench-[\w-]+\.svg)\)", page())) == drawn


def test_every_result_says_where_it_comes_from():
    for name in ("loss", "scan", "steps", "verify", "convert"):
        assert read_results(name), name
        for results in read_results(name):
            environment = results["environment"]
            assert re.fullmatch(r"[0-9a-f]{40}", environment["commit"])
            assert all(environment[name] for name in ("processor", "torch", "date"))


# how it is measured


def test_a_ratio_is_the_median_over_turns_and_not_of_medians():
    assert ratio([1.0, 10.0, 4.0], [1.0, 5.0, 1.0])["median"] == 2.0  # of 1, 2, 4; the medians' would be 4


def test_a_cost_that_doubles_with_the_size_has_slope_one():
    assert growth_slope([1, 2, 4], [3.0, 6.0, 12.0]) == pytest.approx(1.0)


class Counter:
    """A training of three steps that counts them, through the callbacks of one turnstile."""

    def __init__(self, turnstile: Turnstile, fails: bool = False) -> None:
        self.turnstile, self.steps, self.fails = turnstile, 0, fails
        self.should_training_stop = False

    def train(self) -> None:
        self.turnstile.on_train_begin(None, None, self)
        while not self.should_training_stop:
            if self.fails:
                raise ValueError("broken step")
            self.steps += 1
            self.turnstile.on_step_end(None, None, self)


def test_trainings_move_only_when_it_is_their_turn():
    trainings = [Counter(Turnstile()) for _ in range(2)]
    for training in trainings:
        training.turnstile.start(training.train)
    trainings[0].turnstile.step()
    trainings[0].turnstile.step()
    trainings[1].turnstile.step()
    assert [training.steps for training in trainings] == [2, 1]
    for training in trainings:
        training.turnstile.stop()


def test_an_error_in_a_training_stops_the_benchmark():
    training = Counter(Turnstile(), fails=True)
    training.turnstile.start(training.train)
    with pytest.raises(ValueError, match="broken step"):
        training.turnstile.step()


# they run


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def quick(monkeypatch, capsys):
    """A function (main of a benchmark) -> what it prints when it is quick; it may switch gradients off."""

    def run(main: Callable[[], None]) -> str:
        monkeypatch.setattr(sys, "argv", ["benchmark", "--quick"])
        with torch.enable_grad():
            main()
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("benchmark", [scan, gpu])
def test_a_short_benchmark_runs(quick, benchmark):
    assert quick(benchmark.main)


@pytest.mark.usefixtures("sandbox_works")
def test_the_benchmark_of_verifying_runs():
    assert "checks/s" in run("benchmarks.verify", "--quick")


@pytest.mark.slow
def test_the_benchmark_of_conversions_runs(quick):
    assert "to-meta: " in quick(convert.main)


@pytest.mark.slow
def test_the_benchmark_of_the_loss_runs(quick):
    assert "seq: time ~ n^" in quick(lambda: loss.main(sys.argv[1:]))


def quick_steps() -> None:
    sys.stdout, sys.argv = sys.stderr, ["steps", "--quick", "--dtype", "float32"]
    steps.main()


@pytest.mark.slow
def test_the_benchmark_of_training_steps_runs(smollm2, tmp_path):
    """In a process of its own: it silences libraries for good."""
    said = tmp_path / "said"
    process = start(quick_steps, said=said)
    process.join()
    assert process.exitcode == 0, said.read_text()[-2000:]
    assert "stage 2, four heads over stage 0, four heads:" in said.read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("smollm2")
def test_the_benchmark_of_packing_runs():
    assert "packed over padded" in run("benchmarks.packing", "--quick", "--batches", "8")
