"""Each scheme of the table in a real run: it is supplied, its loss has a bound, and its metrics are numbers."""

import math
from dataclasses import replace

import pytest

from tests.training.columns import with_columns
from weighted_mtp.inspection.tokens import view_tokens
from weighted_mtp.models import MTPModel
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.loading import load_scheme
from weighted_mtp.training.run import fit, make_trainer
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.training.scoring import score
from weighted_mtp.value_weighting import WeightingScheme

CASES = {
    "dft": ("dft", {}),
    "profit": ("profit", {"tau": 0.01}),
    "prift": ("prift", {}),
    "iw_sft": ("iw_sft", {}),
    "iw_sft token": ("iw_sft", {"form": "token"}),
    "eaft": ("eaft", {}),
    "top_entropy": ("top_entropy", {}),
    "steps": ("steps", {}),
    "signed": ("signed", {}),
    "w_reinforce": ("w_reinforce", {}),
    "w_reinforce clip": ("w_reinforce", {"clip": 0.2}),
    "nft": ("nft", {}),
    "column": ("column", {"floor": 0.01}),
}


@pytest.fixture
def ready(prepare, chain_base, rows):
    """A function (scheme, options) -> a run of four steps of two heads whose rows have every column."""

    def make(scheme: str, options: dict):
        stage = "verifiable" if scheme == "signed" else "baseline"
        run = prepare(stage, eval_file=str(rows["eval"]), n_future=2, scheme="uniform")
        inputs = replace(
            run.inputs,
            train_dataset=with_columns(run.inputs.train_dataset),
            eval_dataset=with_columns(run.inputs.eval_dataset),
        )
        inputs.stage.reference = MTPModel.from_pretrained(str(chain_base / "base"), n_future=1)
        config = RunConfig.from_flat(run.config.to_flat() | {"scheme": scheme, "scheme_options": options})
        return run._replace(trainer=make_trainer(config, inputs, quiet=True), config=config, inputs=inputs)

    return make


@pytest.mark.parametrize("case", CASES)
def test_two_heads_train_with_metrics_and_weights_that_are_numbers(ready, case):
    run = ready(*CASES[case])
    fit(run.trainer, run.config)
    logged = {name: x for entry in run.trainer.state.log_history for name, x in entry.items() if isinstance(x, float)}
    assert all(math.isfinite(x) for x in logged.values())
    assert 0 < logged["weight_entropy"] <= 1
    assert (logged["weight_min"] < 0) == (run.trainer.scheme.floor is not None)
    shown = view_tokens(run.trainer, run.inputs.eval_dataset.select(range(2)), run.inputs.tokenizer, "run")
    assert all(math.isfinite(weight) for view in shown for weight in view["weights"])


@pytest.mark.parametrize(("scheme", "column"), [("column", "weights"), ("steps", "steps"), ("shuffled", "weights")])
def test_negative_weights_without_a_floor_are_refused_before_training(ready, scheme, column):
    run = ready("column", {"floor": 0.01})
    options = {"inner": "column"} if scheme == "shuffled" else {}
    config = RunConfig.from_flat(run.config.to_flat() | {"scheme": scheme, "scheme_options": options})
    rows = run.inputs.train_dataset
    signed = rows.remove_columns(column).add_column(column, [[-0.5] * len(x) for x in rows["weights"]])
    with pytest.raises(ConfigError, match=rf"{column} holds a negative number, .*'{{\"floor\": 0.01}}'"):
        load_scheme(config, run.inputs.stage, signed)


class Unbounded(WeightingScheme):
    """Pushes everything down, without end."""

    def weight_range(self, bounded_values):
        return -1.0, 0.0


class Blind(Unbounded):
    floor = 0.01


@pytest.mark.parametrize(
    ("scheme", "said"),
    [
        ("Unbounded", "gives weights down to -1 and has no floor, so that its loss can go to minus infinity"),
        ("Blind", "has a floor, which needs nll: name it in its `requires`"),
    ],
)
def test_a_scheme_whose_loss_has_no_bound_is_refused(prepare, scheme, said):
    with pytest.raises(ConfigError, match=said):
        prepare(scheme=f"{__name__}:{scheme}")


@pytest.mark.parametrize("name", ["steps", "nft", "prift"])
def test_a_scheme_is_refused_where_nothing_supplies_its_signals(prepare, name):
    with pytest.raises(ConfigError, match=rf"scheme {name} needs (steps|pass_rate|reference_nll)"):
        prepare(scheme=name)


@pytest.mark.parametrize("scheme", ["dft", "eaft", "nft", "w_reinforce", "steps", "signed"])
def test_what_no_critic_supplies_cannot_be_scored_ahead(critic_dir, rows, tmp_path, scheme):
    config = ScoreConfig(critic=str(critic_dir), data=str(rows["train"]), out=str(tmp_path / "out"), scheme=scheme)
    with pytest.raises(ConfigError, match=rf"scheme {scheme} needs .*, which no critic supplies"):
        score(config)
