"""Running statistics are there before the first step, so that weights mean the same at every step."""

import pytest
import torch

from weighted_mtp.training.callbacks import take_first_statistics

EMA = {"whitening": "ema"}
SCHEMES = {
    "whitened": ("verifiable", "td", EMA),
    "unit_mean": ("verifiable", "td", {"beta": 0.3, "unit_mean": True}),
    "whitened_unit_mean": ("verifiable", "td", EMA | {"unit_mean": True}),
    "gae": ("verifiable", "td", EMA | {"credit": "gae"}),
    "within_a_control": ("verifiable", "shuffled", {"inner": "td", "inner_options": EMA | {"unit_mean": True}}),
    "return_weighted": ("baseline", "return_weighted", EMA | {"unit_mean": True}),
}


@pytest.fixture(scope="module")
def still(prepare, rows, critic_dir):
    """A function (case) -> the trainer of a model that does not move, evaluated before and after."""
    runs = {}

    def run(case: str):
        if case not in runs:
            stage, scheme, options = SCHEMES[case]
            runs[case] = prepare(
                stage,
                model_name_or_path=str(critic_dir),
                scheme=scheme,
                scheme_options=options,
                eval_file=str(rows["eval"]),
                learning_rate=1e-30,
                optim="sgd",
                max_steps=6,
                logging_steps=1,
                **({"value_coef": 0.0} if stage == "verifiable" else {}),
            )
            runs[case].fit()
        return runs[case].trainer

    return run


def logged(trainer, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


@pytest.mark.filterwarnings("ignore:.*value head, which was dropped")
@pytest.mark.parametrize("case", SCHEMES)
def test_the_evaluation_of_an_unchanged_model_does_not_move(still, case):
    # a shuffle is another one at another step: of it, only the weights stay the same
    for name in ("eval_weight_mean", "eval_weight_std", *(["eval_loss"] if "control" not in case else [])):
        first, last = logged(still(case), name)
        assert last == pytest.approx(first, rel=0.03), name


@pytest.mark.filterwarnings("ignore:.*value head, which was dropped")
@pytest.mark.parametrize("case", SCHEMES)
def test_the_weights_of_the_first_step_are_like_the_later_ones(still, case):
    first, *later = zip(*(logged(still(case), name) for name in ("weight_mean", "weight_std")), strict=True)
    mean, std = torch.tensor(later).mean(0).tolist()
    assert first == (pytest.approx(mean, rel=0.25), pytest.approx(std, rel=0.4))


def test_the_rows_that_were_looked_at_are_counted_once(still):
    assert logged(still("whitened"), "statistics_rows") == [48]  # six steps of eight rows


def test_no_randomness_is_used_up_and_a_second_look_is_not_taken(prepare, critic_dir):
    run = prepare("verifiable", model_name_or_path=str(critic_dir), scheme_options=EMA)
    trainer = run.trainer
    trainer.state.max_steps = 4
    before = torch.get_rng_state()
    take_first_statistics(trainer)
    assert torch.equal(torch.get_rng_state(), before)
    kept = {name: x.clone() for name, x in trainer.scheme.state_dict().items()}
    assert kept["whitener.weight"] > 0
    take_first_statistics(trainer)
    assert all(torch.equal(x, kept[name]) for name, x in trainer.scheme.state_dict().items())


def test_a_scheme_without_statistics_costs_no_pass(prepare):
    run = prepare()
    run.trainer.state.max_steps = 4
    take_first_statistics(run.trainer)
    assert logged(run.trainer, "statistics_rows") == []
