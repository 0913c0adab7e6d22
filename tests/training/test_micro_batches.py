"""One batch of 8 rows, two of 4 and four of 2 are the same optimizer step, whatever the rows' lengths."""

import pytest
import torch

WEIGHTINGS = {
    "uniform": ("baseline", {}),
    "td": ("verifiable", {"scheme_options": {"beta": 0.3}}),
    "td_ema": ("verifiable", {"scheme_options": {"whitening": "ema"}}),
    "td_ema_unit_mean": ("verifiable", {"scheme_options": {"whitening": "ema", "unit_mean": True}}),
    "gae_ema": ("verifiable", {"scheme_options": {"whitening": "ema", "credit": "gae"}}),
    "column": ("baseline", {"scheme": "column"}),
    "dft": ("baseline", {"scheme": "dft"}),
    "eaft": ("baseline", {"scheme": "eaft"}),
    "signed": ("verifiable", {"scheme": "signed"}),
    "w_reinforce": ("baseline", {"scheme": "w_reinforce"}),
}
VALUE_LOSSES = {
    # Not pairwise: it ranks the pairs that meet in a micro-batch, so a split changes which pairs there are.
    loss: ("critic", {"value_loss": loss, "n_future": 1})
    for loss in ("mse", "bce", "lambda")
}
CRITICS = {
    "generative": ("critic", {"critic": "generative", "n_future": 1}),
    "generative_prior_head": ("critic", {"critic": "generative", "prior": "head", "n_future": 1}),
    "implicit": ("critic", {"critic": "implicit", "n_future": 1}),
}
EVERY_CASE = WEIGHTINGS | VALUE_LOSSES | CRITICS
TIMES = ("runtime", "per_second")


@pytest.fixture(scope="module")
def train_split(train, critic_dir, weighted_rows):
    """A function (case, rows per micro-batch) -> the trainer after four SGD steps of eight rows."""
    runs = {}

    def run(case: str, micro_batch: int):
        if (case, micro_batch) not in runs:
            stage, settings = EVERY_CASE[case]
            settings = {
                "n_future": 2,
                "optim": "sgd",
                "learning_rate": 0.3,
                "gradient_accumulation_steps": 8 // micro_batch,
                "per_device_train_batch_size": micro_batch,
                "per_device_eval_batch_size": micro_batch,
                **weighted_rows,
                **({} if stage == "baseline" else {"model_name_or_path": str(critic_dir)}),
                **settings,
            }
            runs[case, micro_batch] = train(stage, **settings)
        return runs[case, micro_batch]

    return run


@pytest.fixture(scope="module")
def weighted_rows(rows, tmp_path_factory):
    """The files, with a `weights` column of odd numbers."""
    import json

    folder = tmp_path_factory.mktemp("weighted")
    for name, source in rows.items():
        table = [json.loads(line) for line in source.read_text().splitlines()]
        for i, row in enumerate(table):
            n_tokens = len(row["completion"].split()) + 1
            row["weights"] = [0.1 + (7 * i + 3 * j) % 11 / 5 for j in range(n_tokens)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    return {"train_file": str(folder / "train.jsonl"), "eval_file": str(folder / "eval.jsonl")}


@pytest.mark.parametrize("micro_batch", [4, 2])
@pytest.mark.parametrize("case", EVERY_CASE)
def test_micro_batches_give_the_parameters_of_the_whole_batch(train_split, case, micro_batch):
    whole, split = train_split(case, 8), train_split(case, micro_batch)
    assert whole.state.global_step == split.state.global_step == 4
    for (name, p), q in zip(whole.model.named_parameters(), split.model.parameters(), strict=True):
        torch.testing.assert_close(q, p, rtol=0, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("micro_batch", [4, 2])
@pytest.mark.parametrize("case", EVERY_CASE)
def test_micro_batches_give_the_metrics_of_the_whole_batch(train_split, case, micro_batch):
    histories = [train_split(case, m).state.log_history for m in (8, micro_batch)]
    assert len(histories[0]) == len(histories[1])
    for whole, split in zip(*histories, strict=True):
        assert whole.keys() == split.keys()
        for name in whole:
            if not name.endswith(TIMES):
                assert split[name] == pytest.approx(whole[name], rel=1e-5, abs=1e-6), name


def test_the_steps_move_the_parameters(train_split, critic_dir):
    from weighted_mtp.models import MTPModel

    start = MTPModel.from_pretrained(critic_dir).hf_model.state_dict()
    moved = train_split("td_ema", 8).model.hf_model.state_dict()
    assert max(float((moved[name] - p).abs().max()) for name, p in start.items()) > 0.01


def test_statistics_of_the_batch_do_change_with_the_split(train, critic_dir):
    """The other side of the coin: batch whitening is defined per micro-batch, and says so."""
    losses = [
        train(
            "verifiable",
            model_name_or_path=str(critic_dir),
            scheme_options={"whitening": "batch"},
            gradient_accumulation_steps=8 // micro_batch,
            per_device_train_batch_size=micro_batch,
            max_steps=1,
            logging_steps=1,
        ).state.log_history[0]["loss"]
        for micro_batch in (8, 2)
    ]
    assert losses[0] != pytest.approx(losses[1], rel=1e-4)
