"""A NaN stops the run: step and rows are named, the update is not made, nothing broken is saved."""

from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from transformers import TrainerCallback

from weighted_mtp.cli.main import main
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.nonfinite import NonFiniteError, NonFiniteRecord, not_finite
from weighted_mtp.value_weighting import WeightingScheme

BAD_STEP = 3


class BreaksOneRow(WeightingScheme):
    """Weight 1, and NaN for the second row of the batch of optimizer step 3."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def forward(self, signals):
        weights = torch.ones_like(signals.mask, dtype=torch.float32)
        if self.training and self.steps == BAD_STEP - 1:
            weights[1] = torch.nan
        return weights

    def commit(self) -> None:
        self.steps += 1


class Watch(TrainerCallback):
    """Keeps the rows of each step and the parameters after it."""

    def __init__(self) -> None:
        self.parameters: list[dict[str, torch.Tensor]] = []
        self.row_ids: list[list[int]] = []

    def on_step_end(self, args, state, control, model=None, **kwargs) -> None:
        self.parameters.append({name: p.detach().clone() for name, p in model.named_parameters()})

    def collate(self, collator):
        def collate(rows):
            self.row_ids.append([row["row_id"] for row in rows])
            return collator(rows)

        return collate


def break_run(prepare, **settings):
    """Trains into the NaN; gives the run, what was watched, and the error."""
    watch = Watch()
    run = prepare(callbacks=[watch], **({"max_steps": 6, "save_steps": 1, "logging_steps": 1} | settings))
    run.trainer.scheme = BreaksOneRow()
    run.trainer.data_collator = watch.collate(run.trainer.data_collator)
    with pytest.raises(NonFiniteError) as raised:
        run.fit()
    return run, watch, str(raised.value)


@pytest.fixture(scope="module", params=["adamw_torch_fused", "adamw_torch", "sgd"])
def broken(request, prepare):
    return break_run(prepare, optim=request.param)


def test_the_error_names_step_and_row(broken):
    _, watch, message = broken
    assert f"optimizer step {BAD_STEP} " in message
    assert f"(rows {watch.row_ids[BAD_STEP - 1][1]} of the training data)" in message


def test_the_broken_update_is_not_made(broken):
    run, watch, _ = broken
    after_two, now = watch.parameters[1], run.parameters()
    assert [name for name in now if not torch.equal(now[name], after_two[name])] == []
    assert [name for name in now if not torch.equal(now[name], watch.parameters[0][name])]


def test_the_moments_of_the_optimizer_stay_finite(broken):
    optimizer = broken[0].trainer.optimizer.optimizer
    tensors = [t for state in optimizer.state.values() for t in state.values() if torch.is_tensor(t)]
    assert all(bool(torch.isfinite(t).all()) for t in tensors)


def test_nothing_broken_is_saved(broken):
    run, _, _ = broken
    folder = Path(run.config.train.output_dir)
    assert sorted(path.name for path in folder.glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-2"]
    assert not (folder / "config.json").exists()


def test_the_mlflow_run_is_marked_failed(broken, store):
    run, _, _ = broken
    run_id = (Path(run.config.train.output_dir) / "mlflow_run_id.txt").read_text()
    assert MlflowClient(tracking_uri=store).get_run(run_id).info.status == "FAILED"


def test_later_finite_steps_do_not_overwrite_the_record(prepare):
    _, watch, message = break_run(prepare, logging_steps=6, save_steps=0)
    assert len(watch.parameters) == 6
    assert f"optimizer step {BAD_STEP} " in message
    assert f"(rows {watch.row_ids[BAD_STEP - 1][1]} of the training data)" in message


def test_only_the_broken_step_is_left_out(prepare):
    _, watch, _ = break_run(prepare, logging_steps=6, save_steps=0)
    moved = [
        any(not torch.equal(before[name], after[name]) for name in before)
        for before, after in zip(watch.parameters, watch.parameters[1:], strict=False)
    ]
    assert moved == [True, False, True, True, True]  # by steps 2 to 6


def test_the_record_is_read_at_the_end_where_no_log_entry_comes(prepare):
    _, _, message = break_run(prepare, logging_steps=100, max_steps=4, save_steps=0)
    assert f"optimizer step {BAD_STEP} " in message


def test_the_record_is_read_before_a_save(prepare):
    run, _, _ = break_run(prepare, logging_steps=100, max_steps=8, save_steps=4)
    assert not list(Path(run.config.train.output_dir).glob("checkpoint-*"))
    assert run.trainer.state.global_step == 4


def test_the_micro_batch_with_the_nan_is_named_under_accumulation(prepare):
    _, watch, message = break_run(prepare, per_device_train_batch_size=4, gradient_accumulation_steps=2)
    # micro-batches 2 * 2 and 2 * 2 + 1 make step 3; the scheme breaks row 1 of both, the first is kept
    assert f"(rows {watch.row_ids[2 * (BAD_STEP - 1)][1]} of the training data)" in message


@pytest.mark.parametrize("optim", ["adamw_torch_fused", "sgd"])
def test_a_nan_gradient_of_a_finite_loss_is_caught(prepare, optim):
    watch = Watch()
    run = prepare(callbacks=[watch], optim=optim, max_steps=6, logging_steps=1)
    parameter = run.inputs.model.hf_model.get_output_embeddings().weight

    def poison(gradient: torch.Tensor) -> torch.Tensor:
        return gradient * torch.nan if len(watch.parameters) == BAD_STEP - 1 else gradient

    parameter.register_hook(poison)
    with pytest.raises(NonFiniteError, match=f"optimizer step {BAD_STEP} .*or a gradient"):
        run.fit()
    now = run.parameters()
    assert all(torch.equal(now[name], p) for name, p in watch.parameters[1].items())


def test_an_infinite_hidden_state_names_its_row():
    record = NonFiniteRecord(3, torch.device("cpu"))
    record.observe(6, torch.tensor(torch.inf), torch.tensor([True, True, False]), torch.tensor([5, 8, 13]))
    with pytest.raises(NonFiniteError, match=r"optimizer step 7 \(rows 13 of"):
        record.raise_if_any()


def test_a_nan_of_no_single_row_names_the_whole_micro_batch():
    record = NonFiniteRecord(3, torch.device("cpu"))
    record.observe(0, torch.tensor(torch.nan), torch.tensor([True, True]), torch.tensor([5, 8]))
    with pytest.raises(NonFiniteError, match=r"optimizer step 1 \(rows 5, 8 of"):
        record.raise_if_any()


def test_a_finite_run_raises_nothing():
    record = NonFiniteRecord(2, torch.device("cpu"))
    record.observe(0, torch.tensor(1.0), torch.tensor([True, True]), torch.tensor([1, 2]))
    record.observe_gradient(0, torch.tensor(3.0))
    record.raise_if_any()


def test_the_first_bad_step_stays_on_record_when_a_second_one_comes():
    record = NonFiniteRecord(1, torch.device("cpu"))
    for step, row in ((2, 5), (4, 8)):
        record.begin_step()
        record.observe(step, torch.tensor(torch.nan), torch.tensor([False]), torch.tensor([row]))
    with pytest.raises(NonFiniteError, match=r"optimizer step 3 \(rows 5 of"):
        record.raise_if_any()


HUGE = 3e38  # finite in float32; the step that it makes is not
CASES = {
    "fused": {"optim": "adamw_torch_fused"},
    "lora": {"lora_rank": 2},
    "half": {"dtype": "bfloat16"},
    "new_parts": {"stage": "critic", "learning_rate": 1e-3, "new_learning_rate": HUGE},
}


@pytest.mark.parametrize("case", CASES)
def test_an_update_that_breaks_the_parameters_is_named_and_nothing_is_saved(prepare, case):
    """One step, whose loss and gradient are finite: only what it leaves tells."""
    settings = {"learning_rate": HUGE, "max_grad_norm": 0.0, "weight_decay": 0.1, "max_steps": 1, "save_steps": 1}
    settings |= CASES[case]
    run = prepare(settings.pop("stage", "baseline"), **settings)
    with pytest.raises(
        NonFiniteError, match=r"the update of optimizer step 1 left .* \(\d+ of \d+ tensors, "
    ) as raised:
        run.fit()
    folder = Path(run.config.train.output_dir)
    assert not (folder / "config.json").exists()
    assert not list(folder.glob("*/complete.json"))
    assert ("value_head" in str(raised.value)) == (case == "new_parts")


class BreaksItsStatistics(WeightingScheme):
    """Weight 1, and a statistic that the second commit makes infinite."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(2e38))

    def forward(self, signals):
        return torch.ones_like(signals.mask, dtype=torch.float32)

    def commit(self) -> None:
        self.mean = self.mean * 1.5


def test_statistics_of_the_scheme_that_break_are_named(prepare):
    run = prepare(max_steps=4, logging_steps=100, save_steps=4)
    run.trainer.scheme = BreaksItsStatistics()
    with pytest.raises(NonFiniteError, match=r"optimizer step 2 left .* tensors, weighting\.mean first"):
        run.fit()
    assert not list(Path(run.config.train.output_dir).glob("*/complete.json"))


def test_a_model_that_is_broken_from_the_start_is_refused(prepare):
    run = prepare(max_steps=1)
    name, parameter = next(iter(run.inputs.model.named_parameters()))
    parameter.data.view(-1)[3] = torch.nan
    with pytest.raises(ConfigError, match=f"1 of .* before the first update, {name} first"):
        run.fit()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_what_is_not_finite_is_found_in_every_precision(value, dtype):
    largest = torch.full((3,), torch.finfo(dtype).max, dtype=dtype)
    broken = largest.clone()
    broken[1] = value
    tensors = {"fine": largest, "broken": broken, "count": torch.tensor(3), "empty": torch.zeros(0)}
    names, bad = not_finite(tensors | {"mixed": torch.full((2,), 1e38)})
    assert [name for name, is_bad in zip(names, bad.tolist(), strict=True) if is_bad] == ["broken"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_rate_that_the_optimizer_cannot_compute_with_is_one_line(chain_base, tmp_path, capsys, dtype):
    words = ["--model_name_or_path", chain_base / "base", "--train_file", chain_base / "train.jsonl"]
    words += ["--output_dir", tmp_path, "--optim", "adamw_torch", "--learning_rate", HUGE, "--max_steps", 1]
    words += ["--save_steps", 1, "--dtype", dtype, "--tracking_uri", "none"]
    assert main(["train", "baseline", *map(str, words)]) == 1
    assert "the update of" in capsys.readouterr().err
    assert list(tmp_path.glob("checkpoint-*/complete.json")) == []
    assert not (tmp_path / "config.json").exists()
