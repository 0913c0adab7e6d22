"""An interrupted run equals an uninterrupted one: real processes, really killed."""

import signal
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM

import pytest
import torch
from transformers import TrainerControl, TrainerState

from tests.conftest import weights_in
from tests.training.launch import launch
from weighted_mtp.training.callbacks import InterruptCallback
from weighted_mtp.training.checkpoints import find_resumable, why_incomplete


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return weights_in(run_dir)


def assert_bitwise_equal(first: Path, second: Path) -> None:
    a, b = weights(first), weights(second)
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


@pytest.fixture
def run_config(make_config, tmp_path):
    """Stage 2 with EMA statistics, a random control scheme's worth of state, and two micro-batches a step."""

    def make(name: str, **settings):
        return make_config(
            "verifiable",
            output_dir=str(tmp_path / name),
            scheme_options={"whitening": "ema", "beta": 1.0},
            max_steps=7,
            save_steps=2,
            gradient_accumulation_steps=2,
            per_device_train_batch_size=4,
            **settings,
        )

    return make


@pytest.mark.slow
def test_a_killed_and_resumed_run_is_bitwise_the_uninterrupted_one(run_config, tmp_path):
    assert launch(run_config("whole")).returncode == 0
    assert launch(run_config("killed"), kill_at=5).returncode == -9
    resumed = launch(run_config("killed"), resume="auto")
    assert resumed.returncode == 0, resumed.stderr
    assert_bitwise_equal(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.slow
def test_a_kill_during_a_save_costs_that_checkpoint_only(run_config, tmp_path):
    assert launch(run_config("torn"), kill_in_save_at=4).returncode == -9
    run_dir = tmp_path / "torn"
    assert why_incomplete(run_dir / "checkpoint-4") is not None
    assert find_resumable(run_dir)[0] == run_dir / "checkpoint-2"
    resumed = launch(run_config("torn"), resume="auto")
    assert resumed.returncode == 0
    assert "checkpoint-4 is passed over" in resumed.stderr
    assert why_incomplete(run_dir / "checkpoint-6") is None


@pytest.mark.slow
@pytest.mark.parametrize("signals", [(SIGINT,), (SIGTERM, SIGTERM), (SIGHUP, SIGHUP, SIGTERM)], ids=str)
def test_a_signal_saves_and_says_how_to_go_on(run_config, tmp_path, signals):
    stopped = launch(run_config("stopped"), interrupt_at=3, signals=signals)
    assert stopped.returncode == 128 + signals[0]
    assert "interrupted at optimizer step 3 of 7" in stopped.stderr
    assert "--resume auto" in stopped.stderr
    assert find_resumable(tmp_path / "stopped")[0] == tmp_path / "stopped" / "checkpoint-3"


def test_a_signal_that_is_ignored_stays_so():
    previous = signal.signal(SIGHUP, signal.SIG_IGN)
    interrupt = InterruptCallback()
    try:
        interrupt.on_train_begin(None, TrainerState(), TrainerControl())
        assert signal.getsignal(SIGHUP) == signal.SIG_IGN
        assert signal.getsignal(SIGTERM) == interrupt._request
    finally:
        interrupt.restore()
        signal.signal(SIGHUP, previous)
