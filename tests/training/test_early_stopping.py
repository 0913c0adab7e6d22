"""Training that stops when held-out rows no longer get better, and the model that it leaves."""

import json
import math
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerControl, TrainerState, TrainingArguments

from tests.conftest import weights_in
from tests.training.launch import Accident, Ended, launch
from weighted_mtp.evaluation.ranking import auc
from weighted_mtp.models.lora import ADAPTER, DECODERS
from weighted_mtp.training.arguments import training_arguments
from weighted_mtp.training.batch import TokenBatch
from weighted_mtp.training.checkpoints import MARKER, find_resumable
from weighted_mtp.training.critics.table import critic_kind
from weighted_mtp.training.early_stopping import EarlyStopping, stopping_lines
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.metrics import auc_error
from weighted_mtp.training.run import Interrupted

# A learning rate that ruins the model: evaluations get worse long before step 20.
RUINOUS = {"learning_rate": 0.1, "lr_scheduler_type": "constant", "max_steps": 20, "logging_steps": 3}


@pytest.fixture
def ruined(prepare, rows):
    """A function (stage, **settings) -> Prepared: early stopping with a patience of two, a learning rate too large."""

    def make(stage: str = "baseline", **settings):
        patient = {"eval_file": str(rows["eval"]), "eval_steps": 1, "early_stopping_patience": 2}
        return prepare(stage, **(RUINOUS | patient | settings))

    return make


def evaluations(trainer) -> list[dict[str, float]]:
    return [entry for entry in trainer.state.log_history if "eval_loss" in entry]


def final_weights(run) -> dict[str, torch.Tensor]:
    return weights_in(run.config.train.output_dir)


def differing(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> list[str]:
    assert a.keys() == b.keys()
    return [name for name in a if not torch.equal(a[name], b[name])]


def best_by_hand(values: list[float], patience: int, greater: bool) -> tuple[int, int]:
    """Indices of the best value and of the one that exhausts the patience."""
    best = 0
    for i, value in enumerate(values):
        if value > values[best] if greater else value < values[best]:
            best = i
        if i - best == patience:
            return best, i
    return best, len(values) - 1


@pytest.mark.parametrize(
    ("stage", "settings"),
    [
        ("baseline", {"n_future": 2, "best_metric": "ce_head_1", "head_warmup_steps": 2}),
        ("critic", {"best_metric": "value_explained_variance"}),
        ("critic", {"critic": "generative", "best_metric": "loss"}),
        ("verifiable", {"best_metric": "value_loss", "scheme_options": {"whitening": "ema"}}),
        ("rho1", {"best_metric": "ce_head_0"}),
        ("baseline", {"lora_rank": 4, "learning_rate": 0.5}),
    ],
    ids=["heads", "variance", "generative", "value_loss", "rho1", "lora"],
)
def test_the_trainer_stops_by_the_logged_metric_and_leaves_the_best_model(ruined, chain_base, stage, settings):
    metric = settings.get("best_metric", "loss")
    reference = {"reference": str(chain_base / "base")} if stage == "rho1" else {}
    run = ruined(stage, **settings, **reference)
    trainer = run.fit()
    curve = [entry for entry in evaluations(trainer)[:-1] if entry["step"]]
    greater = metric == "value_explained_variance"
    best, last = best_by_hand([entry[f"eval_{metric}"] for entry in curve], 2, greater)
    assert best < last == len(curve) - 1
    assert trainer.state.global_step == curve[last]["step"] < 20
    assert trainer.state.best_metric == curve[best][f"eval_{metric}"]
    checkpoint = Path(run.config.train.output_dir) / f"checkpoint-{curve[best]['step']}"
    assert (checkpoint / MARKER).is_file()
    assert differing(final_weights(run), weights_in(checkpoint)) == []
    assert evaluations(trainer)[-1][f"eval_{metric}"] == pytest.approx(trainer.state.best_metric, rel=1e-5)


def test_evaluate_returns_what_was_logged(ruined):
    trainer = ruined(max_steps=1).fit()
    returned, logged = trainer.evaluate(), evaluations(trainer)[-1]
    assert returned["eval_loss"] == logged["eval_loss"]
    assert {name for name in logged if name.startswith("eval_")} <= returned.keys()


def test_the_steps_before_an_early_stop_are_logged(ruined):
    trainer = ruined(logging_steps=50).fit()
    assert [entry["step"] for entry in trainer.state.log_history if "loss" in entry] == [trainer.state.global_step]


def test_a_better_start_is_told_and_the_best_saved_model_kept(ruined, caplog):
    run = ruined(learning_rate=1.0)
    trainer = run.fit()
    start, *rest = evaluations(trainer)[:-1]
    assert start["eval_loss"] < min(entry["eval_loss"] for entry in rest)
    assert trainer.state.best_global_step > 0
    [line] = [record.message for record in caplog.records if "stopped early" in record.message]
    assert f"the model of step {trainer.state.best_global_step} is kept" in line
    assert f"before training it was better, {start['eval_loss']:.4g}" in line


def test_without_a_bad_evaluation_training_goes_to_its_end(ruined, caplog):
    trainer = ruined(learning_rate=1e-3, max_steps=5, eval_steps=2, save_steps=0).fit()
    assert [entry["step"] for entry in evaluations(trainer)] == [0, 2, 4, 5]  # the last one once
    assert trainer.state.best_global_step == 5
    assert "trained to the end, optimizer step 5; the model of step 5 is kept" in caplog.text


@pytest.mark.parametrize("after", [2, 3])
def test_an_interrupted_run_goes_on_with_the_patience_it_had_left(ruined, caplog, after):
    """The signal comes at the first evaluation that is no better, or a step later."""
    settings = {"stage": "verifiable", "eval_steps": 2, "scheme_options": {"whitening": "ema"}}
    whole = ruined(**settings)
    state = whole.fit().state
    step = state.best_global_step + after
    assert step < state.global_step == state.best_global_step + 4
    broken = ruined(callbacks=[Accident(step, signal.SIGINT)], **settings)
    with pytest.raises(Interrupted, match=f"interrupted at optimizer step {step} of 20"):
        broken.fit()
    run_dir = broken.config.train.output_dir
    resumed = ruined(output_dir=run_dir, **settings)
    caplog.clear()
    trainer = resumed.fit(find_resumable(run_dir)[0])
    assert differing(final_weights(whole), final_weights(resumed)) == []
    curves = [[(e["step"], e["eval_loss"]) for e in evaluations(t)] for t in (whole.trainer, trainer)]
    assert curves[0] == curves[1]
    assert f"stopped early at optimizer step {state.global_step} of 20" in caplog.text


def test_an_interrupt_at_the_step_of_an_early_stop_is_an_early_stop(ruined):
    last = ruined().fit().state.global_step
    run = ruined(callbacks=[Accident(last, signal.SIGINT)])
    assert run.fit().state.global_step == last
    assert final_weights(run)


@pytest.mark.parametrize("patience", [0, 2])
def test_a_run_that_was_killed_after_its_last_checkpoint_makes_no_further_step(ruined, patience):
    settings = {"early_stopping_patience": patience, "max_steps": 20 if patience else 3, "save_steps": 1}
    run = ruined(**settings)
    steps = run.fit().state.global_step
    run_dir = run.config.train.output_dir
    before = final_weights(run)
    again = ruined(output_dir=run_dir, **settings)
    checkpoint, _ = find_resumable(run_dir)
    assert checkpoint == Path(run_dir) / f"checkpoint-{steps}"
    assert again.fit(checkpoint).state.global_step == steps
    assert differing(before, final_weights(again)) == []


def test_a_larger_patience_lets_a_stopped_run_go_on(ruined):
    run = ruined()
    steps = run.fit().state.global_step
    run_dir = run.config.train.output_dir
    longer = ruined(output_dir=run_dir, early_stopping_patience=3)
    assert longer.fit(find_resumable(run_dir)[0]).state.global_step > steps


def test_a_run_whose_directory_was_moved_still_ends_with_its_best_model(ruined):
    run = ruined()
    run.fit()
    before, run_dir = final_weights(run), Path(run.config.train.output_dir)
    moved = run_dir.rename(run_dir.with_name("moved"))
    resumed = ruined(output_dir=str(moved))
    resumed.fit(find_resumable(moved)[0])
    assert differing(before, final_weights(resumed)) == []


def test_a_damaged_best_model_is_told_and_the_last_one_kept(ruined, caplog):
    run = ruined()
    state, run_dir = run.fit().state, Path(run.config.train.output_dir)
    best, last = run_dir / f"checkpoint-{state.best_global_step}", run_dir / f"checkpoint-{state.global_step}"
    content = bytearray((best / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (best / "model.safetensors").write_bytes(content)
    resumed = ruined(output_dir=str(run_dir))
    resumed.fit(last)
    assert f"{best}, the best, is not loaded: model.safetensors has other content than was written" in caplog.text
    assert differing(final_weights(resumed), weights_in(last)) == []


def test_a_resumed_run_compares_by_the_same_metric(ruined):
    run = ruined(max_steps=2)
    run.fit()
    run_dir = run.config.train.output_dir
    other = ruined(output_dir=run_dir, best_metric="ce_head_0")
    with pytest.raises(ConfigError, match="resume with --best_metric loss"):
        other.fit(find_resumable(run_dir)[0])


def test_early_stopping_can_begin_with_a_resumed_run(ruined):
    first = ruined(early_stopping_patience=0, eval_steps=3, save_steps=3, max_steps=3)
    first.fit()
    run_dir = first.config.train.output_dir
    trainer = ruined(output_dir=run_dir).fit(find_resumable(run_dir)[0])
    curve = {entry["step"]: entry["eval_loss"] for entry in evaluations(trainer)[:-1] if entry["step"] > 3}
    assert list(curve) == list(range(4, trainer.state.global_step + 1))
    assert trainer.state.best_metric == min(curve.values())


def test_a_metric_that_is_never_a_number_uses_up_the_patience_and_keeps_the_last_model(
    ruined, caplog, tmp_path, monkeypatch
):
    (tmp_path / "blind_schemes.py").write_text(
        "from weighted_mtp.value_weighting import Uniform\n\n\n"
        "class NoNumberInEvaluation(Uniform):\n"
        "    def forward(self, signals):\n"
        "        return super().forward(signals) * (1.0 if self.training else float('nan'))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    trainer = ruined(scheme="blind_schemes:NoNumberInEvaluation", learning_rate=1e-3).fit()
    assert math.isnan(evaluations(trainer)[0]["eval_loss"])
    assert trainer.state.global_step == 2
    assert "loss was never a number, so the last model is kept" in caplog.text


@pytest.mark.slow
def test_a_killed_and_resumed_run_with_adapters_is_bitwise_the_uninterrupted_one(make_config, chain_base, tmp_path):
    def end(name: str, **accident: Any) -> Ended:
        config = make_config(
            output_dir=str(tmp_path / name),
            eval_file=str(chain_base / "eval.jsonl"),
            lora_rank=4,
            early_stopping_patience=2,
            eval_steps=2,
            **(RUINOUS | {"learning_rate": 0.5}),
        )
        return launch(config, **accident)

    whole = end("whole")
    [line] = [line for line in whole.stderr.splitlines() if "stopped early" in line]
    steps = int(line.split("optimizer step ")[1].split()[0])
    assert end("killed", kill_at=steps).returncode == -9  # one bad evaluation is counted by then
    resumed = end("killed", resume="auto")
    assert line in resumed.stderr
    for file in ("model.safetensors", f"{ADAPTER}/{DECODERS}"):
        assert differing(*(load_file(tmp_path / name / file) for name in ("whole", "killed"))) == []


def test_a_metric_that_the_stage_does_not_have_is_refused_before_training(ruined):
    run = ruined(best_metric="value_loss")
    with pytest.raises(ConfigError, match=r"'value_loss', which the evaluation of this run does not have.*ce_head_0"):
        run.fit()
    assert run.trainer.state.global_step == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eval_file": None}, "give --eval_file"),
        ({"best_metric": "eval_loss"}, "give one of loss, weighted_ce, value_loss"),
        ({"best_metric": "ce_head_1"}, "ce_head_0$"),
        ({"n_future": 2, "head_warmup_steps": 5}, "give --best_metric ce_head_0"),
        ({"trainer_args": {"save_strategy": "best"}}, "trainer_args sets save_strategy"),
        ({"early_stopping_patience": -1}, "early_stopping_patience is -1"),
    ],
)
def test_settings_that_cannot_stop_a_run_are_refused(make_config, settings, message):
    needed = {"eval_file": "eval.jsonl", "eval_steps": 2, "early_stopping_patience": 2}
    with pytest.raises(ConfigError, match=message):
        make_config(**(needed | settings))


def test_the_best_checkpoint_outlives_those_after_it(ruined):
    run = ruined(early_stopping_patience=5)
    trainer = run.fit()
    best, last = trainer.state.best_global_step, trainer.state.global_step
    assert last - best == 5
    kept = {path.name for path in Path(run.config.train.output_dir).glob("checkpoint-*")}
    assert kept == {f"checkpoint-{best}", f"checkpoint-{last}"}
    states = json.loads((Path(run.config.train.output_dir) / f"checkpoint-{last}/trainer_state.json").read_text())
    assert states["best_global_step"] == best


def test_a_critic_with_held_out_rows_stops_early_by_outcome_auc_where_nothing_is_said(make_config):
    for stage, held_out, found in [
        ("critic", {"eval_file": "eval.jsonl"}, (5, "outcome_auc")),
        ("critic", {"eval_share": 0.2}, (5, "outcome_auc")),
        ("critic", {"eval_file": "eval.jsonl", "early_stopping_patience": 2}, (2, "outcome_auc")),
        ("critic", {"eval_file": "eval.jsonl", "early_stopping_patience": 0}, (0, "")),
        ("critic", {"eval_file": "eval.jsonl", "trainer_args": {"eval_strategy": "epoch"}}, (0, "")),
        ("critic", {}, (0, "")),
        ("baseline", {"eval_file": "eval.jsonl"}, (0, "")),
        ("baseline", {"eval_file": "eval.jsonl", "early_stopping_patience": 2}, (2, "loss")),
    ]:
        train = make_config(stage, **held_out).train
        assert (train.early_stopping_patience, train.best_metric) == found, (stage, held_out)
        assert make_config(stage, **held_out).from_flat(make_config(stage, **held_out).to_flat()).train == train


@pytest.mark.parametrize(
    ("stage", "settings", "lines"), [("critic", {}, 1), ("critic", {"eval_share": 0.1}, 0), ("baseline", {}, 0)]
)
def test_a_critic_without_held_out_rows_says_that_nothing_stops_it(make_config, stage, settings, lines):
    said = stopping_lines(make_config(stage, **settings))
    assert len(said) == lines
    assert all("give --eval_share .1" in line for line in said)


@pytest.mark.parametrize("kind", ["value_head", "generative", "implicit"])
def test_outcome_auc_is_that_of_the_rows_by_what_the_critic_says_of_them(prepare, rows, kind):
    run = prepare("critic", critic=kind, eval_file=str(rows["eval"]), early_stopping_patience=0, learning_rate=3e-3)
    trainer = run.fit()
    critic = critic_kind(kind).read(run.inputs.model.eval(), "x", "auto", str(run.config.model.model_name_or_path))
    said, right = [], []
    for row in run.inputs.eval_dataset:
        batch = TokenBatch.from_inputs(trainer.data_collator([row]), 1)
        values, credit = (None if x is None else x[batch.mask] for x in critic.judge(batch))
        said.append(float(values[-1] if credit is None else values[0].logit() + credit.sum()))
        right.append(row["reward"] > 0.5)
    assert evaluations(trainer)[-1]["eval_outcome_auc"] == pytest.approx(auc(said, right), abs=1e-9)


def test_held_out_prompts_are_a_share_of_those_of_the_training_rows(prepare):
    whole = prepare("critic").inputs.train_dataset
    inputs = prepare("critic", eval_share=0.25, seed=3).inputs
    trained, held = (set(rows["prompt_id"]) for rows in (inputs.train_dataset, inputs.eval_dataset))
    assert trained.isdisjoint(held)
    assert trained | held == set(whole["prompt_id"])
    assert len(held) == round(0.25 * len(trained | held))
    assert len(inputs.train_dataset) + len(inputs.eval_dataset) == len(whole)


def test_without_an_interval_early_stopping_evaluates_twenty_times(ruined):
    trainer = ruined(eval_steps=0, max_steps=40, early_stopping_patience=50, learning_rate=1e-3).fit()
    assert sorted({entry["step"] for entry in evaluations(trainer)}) == list(range(0, 41, 2))


@pytest.mark.parametrize(("steps", "every"), [(1, 1), (4, 2), (30, 2), (200, 10)])
def test_the_first_step_whose_rate_is_zero_is_no_candidate(make_config, rows, steps, every):
    config = make_config("critic", eval_file=str(rows["eval"]), max_steps=steps, save_steps=0, eval_steps=0)
    assert training_arguments(config, evaluates=True, quiet=True).eval_steps == every


def kept_by_hand(curve: list[tuple[float, float]], patience: int) -> tuple[int, int]:
    """Indices of the last value within its error of the highest so far, and of the evaluation after which all ends."""
    kept, bad = 0, 0
    for i, (value, error) in enumerate(curve):
        good = value >= max(v for v, _ in curve[: i + 1]) - error
        kept, bad = (i, 0) if good else (kept, bad + 1)
        if bad == patience:
            return kept, i
    return kept, len(curve) - 1


@pytest.fixture
def by_auc(ruined, rows):
    """A function (**settings) -> Prepared: a critic, judged by the outcomes of the rows that it is trained on."""

    def make(**settings):
        return ruined(
            "critic", **({"eval_file": str(rows["train"]), "max_steps": 14} | settings), best_metric="outcome_auc"
        )

    return make


@pytest.mark.parametrize(("kind", "rate"), [("value_head", 1e-3), ("generative", 1e-2)])
def test_of_evaluations_within_their_error_of_the_highest_auc_the_last_is_kept(by_auc, caplog, kind, rate):
    run = by_auc(critic=kind, learning_rate=rate)
    trainer = run.fit()
    curve = [entry for entry in evaluations(trainer)[:-1] if entry["step"]]
    found = [(entry["eval_outcome_auc"], entry["eval_outcome_auc_error"]) for entry in curve]
    kept, last = kept_by_hand(found, 2)
    highest = max(range(last + 1), key=lambda i: found[i][0])
    assert kept > highest, "a run in which the two rules differ"
    assert last == len(curve) - 1
    assert trainer.state.best_global_step == curve[kept]["step"]
    assert trainer.state.best_metric == found[kept][0]
    checkpoint = Path(run.config.train.output_dir) / f"checkpoint-{curve[kept]['step']}"
    assert differing(final_weights(run), weights_in(checkpoint)) == []
    assert f"within its standard error of the highest, {found[highest][0]:.4g}" in caplog.text


def test_an_interrupted_run_knows_the_highest_auc_that_it_had(by_auc, caplog):
    whole = by_auc(learning_rate=1e-3)
    state = whole.fit().state
    broken = by_auc(learning_rate=1e-3, callbacks=[Accident(state.best_global_step, signal.SIGINT)])
    with pytest.raises(Interrupted):
        broken.fit()
    resumed = by_auc(learning_rate=1e-3, output_dir=broken.config.train.output_dir)
    [told] = [record.message for record in caplog.records if "is kept" in record.message]
    caplog.clear()
    trainer = resumed.fit(find_resumable(broken.config.train.output_dir)[0])
    assert (trainer.state.best_global_step, trainer.state.best_metric) == (state.best_global_step, state.best_metric)
    assert differing(final_weights(whole), final_weights(resumed)) == []
    assert told in [record.message for record in caplog.records]


def test_the_error_of_an_auc_is_the_spread_of_resampled_ones():
    rng = np.random.default_rng(0)
    right = np.arange(400) < 100
    aucs = [auc(rng.exponential(1 + 2 * right), right) or 0.0 for _ in range(2000)]
    assert auc_error(float(np.mean(aucs)), 100, 300) == pytest.approx(np.std(aucs), rel=0.05)


def chosen(
    *curve: float, error: float = 0.3, unasked: int | None = None, stopping: EarlyStopping | None = None
) -> list[int]:
    """Steps that the Trainer takes for the best so far; the evaluation of `unasked` is one that a callback makes."""
    stopping, state, control = stopping or EarlyStopping(5), TrainerState(), TrainerControl()
    args = TrainingArguments(
        metric_for_best_model="outcome_auc", greater_is_better=True, load_best_model_at_end=True,
        eval_strategy="steps", save_strategy="steps", use_cpu=True,
    )  # fmt: skip
    stopping.on_train_begin(args, state, control)
    best = []
    for state.global_step, value in enumerate(curve):
        stopping.on_evaluate(args, state, control, {"eval_outcome_auc": value, "eval_outcome_auc_error": error})
        if state.global_step not in (0, unasked) and value > state.best_metric:  # as the Trainer does
            state.best_metric = value
            best.append(state.global_step)
    return best


def test_an_evaluation_that_a_callback_makes_takes_no_worse_model_for_the_best():
    assert chosen(0.5, 0.9, 0.89, 0.55, error=0.05, unasked=2) == [1]


def test_who_trains_again_begins_with_all_patience_and_no_highest():
    stopping = EarlyStopping(2)
    assert chosen(0.5, 0.9, 0.2, 0.2, stopping=stopping) == [1]
    assert stopping.exhausted
    assert chosen(0.5, 0.5, 0.6, stopping=stopping) == [1, 2]
    assert not stopping.exhausted


def test_what_is_below_the_start_is_as_good_only_where_nothing_was_above_it():
    assert chosen(0.5, 0.73, 0.47, 0.6) == [1, 3]
    assert chosen(0.5, 0.45, 0.4) == [1, 2]


def test_held_out_rows_of_one_outcome_are_named(by_auc, rows, tmp_path):
    right = [line for line in rows["train"].read_text().splitlines() if json.loads(line)["label"]]
    (tmp_path / "right.jsonl").write_text("\n".join(right) + "\n")
    run = by_auc(eval_file=str(tmp_path / "right.jsonl"))
    with pytest.raises(ConfigError, match=r"does not have \(that of a critic does, where its held-out rows are both"):
        run.fit()
