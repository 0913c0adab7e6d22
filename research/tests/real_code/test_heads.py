"""Value heads on cached states: what they learn, what they never read, and that they are `wmtp train critic`'s."""

import numpy as np
import pytest
import torch

from research.real_code.heads import head_values
from research.real_code.rows import FOLDS, Selection, prepare_rows, sides
from research.real_code.signals import write_signals
from research.real_code.tokens import Completions, read_signals
from research.tests.real_code.made_code import write_rows
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.loading import load_inputs
from weighted_mtp.training.run import fit, make_trainer

DIM = 6


@pytest.fixture(scope="module")
def completions(code_rows, code_tokenizer):
    return Completions.of(code_rows, code_tokenizer)


@pytest.fixture
def config():
    """A function (**flat settings) -> RunConfig of a head that has ten steps."""

    def make(**settings):
        flat = {
            "stage": "critic",
            "model_name_or_path": "of no account",
            "train_file": "of the fold",
            "eval_file": "of the fold",
            "output_dir": "of the fold",
            "freeze_trunk": True,
            "value_loss": "bce",
            "learning_rate": 0.05,
            "num_train_epochs": 10,
            "per_device_train_batch_size": 1_000,
            "early_stopping_patience": 3,
            "eval_steps": 5,
        }
        return RunConfig.from_flat(flat | settings)

    return make


def states_of(completions, label):
    """Noise whose first dimension says the label of each row, as given."""
    noise = np.random.default_rng(0).normal(size=(completions.n_tokens, DIM))
    noise[:, 0] += 4.0 * label[completions.row_of] - 2.0
    return noise.astype(np.float16)


def rows_of(completions, side, fold=0):
    return [row["row"] for row in sides(completions.rows, fold)[side]]


def tokens_of(completions, rows):
    return np.concatenate([np.arange(completions.starts[i], completions.starts[i + 1]) for i in rows])


@pytest.mark.parametrize(
    "settings", [{}, {"value_loss": "mse"}, {"value_hidden": 8}, {"per_device_train_batch_size": 9}]
)
def test_what_states_say_is_learned(completions, config, settings):
    states = states_of(completions, completions.right)
    for fold in range(FOLDS):
        values = head_values(config(**settings), completions, states, fold)
        right = completions.right[completions.row_of][tokens_of(completions, rows_of(completions, "test", fold))]
        assert ((values > 0.5) == right).mean() > 0.9


def test_what_says_nothing_of_other_tasks_is_not_called_right(completions, config):
    labels = np.random.default_rng(1).permutation(completions.right)
    values = head_values(config(), completions, states_of(completions, labels), fold=0)
    right = completions.right[completions.row_of][tokens_of(completions, rows_of(completions, "test"))]
    assert abs(values[right].mean() - values[~right].mean()) < 0.2


def test_the_held_out_fold_is_not_read_in_training(completions, config):
    states = states_of(completions, completions.right)
    spoilt = states.copy()
    first, *others = rows_of(completions, "test")
    spoilt[tokens_of(completions, others)] = np.nan
    n = completions.starts[first + 1] - completions.starts[first]
    clean, given = (head_values(config(), completions, x, fold=0) for x in (states, spoilt))
    assert np.array_equal(clean[:n], given[:n])
    assert np.isnan(given[n:]).all()


def test_rows_between_train_and_valid_are_not_read_at_all(completions, config):
    """The tasks set apart have rows that neither side takes."""
    taken = {row for side in ("train", "valid", "test") for row in rows_of(completions, side)}
    unused = sorted(set(range(len(completions.rows))) - taken)
    assert unused
    states = states_of(completions, completions.right)
    spoilt = states.copy()
    spoilt[tokens_of(completions, unused)] = np.nan
    assert np.array_equal(*(head_values(config(), completions, x, fold=0) for x in (states, spoilt)))


def flipped_apart(completions):
    """States that say the opposite on the rows set apart: there every step of training makes it worse."""
    label = completions.right.copy()
    label[rows_of(completions, "valid")] ^= True
    return states_of(completions, label)


def test_the_head_with_the_least_loss_apart_is_kept(completions, config):
    states = flipped_apart(completions)
    one_step = head_values(config(num_train_epochs=1, eval_steps=1), completions, states, fold=0)
    many = head_values(config(num_train_epochs=30, eval_steps=1), completions, states, fold=0)
    assert np.array_equal(many, one_step)
    assert np.ptp(one_step) > 0


def test_training_goes_on_while_the_loss_apart_falls(completions, config):
    states = states_of(completions, completions.right)
    ten, thirty = (head_values(config(num_train_epochs=n), completions, states, fold=0) for n in (10, 30))
    assert np.ptp(thirty) > np.ptp(ten)


def test_the_last_step_is_looked_at_too(completions, config):
    """As `wmtp train` does: a training that is shorter than eval_steps would leave an untrained head."""
    states = states_of(completions, completions.right)
    looked_at, missed = (
        head_values(config(num_train_epochs=7, eval_steps=steps), completions, states, fold=0) for steps in (7, 100)
    )
    assert np.array_equal(looked_at, missed)


def test_the_seed_settles_everything(completions, config):
    states = states_of(completions, completions.right)
    options = {"per_device_train_batch_size": 8, "value_hidden": 4}
    first, again, other = (head_values(config(seed=seed, **options), completions, states, fold=0) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("objective", ["bce", "mse"])
def test_a_head_is_the_one_that_wmtp_train_makes_on_a_frozen_trunk(
    config, code_file, code_tokenizer, code_model, store, tmp_path, objective
):
    """Steps on all rows, at one rate: after three of them both say the same of unseen tasks.

    Three wrong rows for two right ones: were they as many, the bias would begin with the sign of a rounding error.
    """
    selection = Selection([code_file], max_length=120, rows_per_label=3)
    completions = Completions.of(prepare_rows(selection, code_tokenizer, tmp_path / "rows"), code_tokenizer)
    for fold in range(FOLDS):
        test = write_rows(tmp_path / f"{fold}.jsonl", sides(completions.rows, fold)["test"])
        write_signals(code_model, test, tmp_path / f"{fold}.safetensors", with_states=True)
    states = read_signals(completions, [tmp_path / f"{fold}.safetensors" for fold in range(FOLDS)])["states"]
    settings = {"value_loss": objective, "learning_rate": 0.02, "weight_decay": 0.1}
    cached = head_values(config(num_train_epochs=3, eval_steps=3, **settings), completions, states, fold=0)
    run = RunConfig.from_flat(
        config(
            **settings,
            model_name_or_path=code_model,
            train_file=write_rows(tmp_path / "train.jsonl", sides(completions.rows, 0)["train"]),
            eval_file=str(tmp_path / "0.jsonl"),
            output_dir=str(tmp_path / "run"),
            tracking_uri=store,
            value_coef=1.0,
            early_stopping_patience=0,
            eval_steps=0,
            save_steps=0,
            max_steps=3,
            lr_scheduler_type="constant",
            max_grad_norm=0.0,
        ).to_flat()
    )
    trainer = make_trainer(run, load_inputs(run), quiet=True)
    fit(trainer, run)
    head = trainer.model.value_head
    test = torch.from_numpy(states[tokens_of(completions, rows_of(completions, "test"))])
    with torch.no_grad():
        trained = head.values(head(test)).squeeze().numpy()
    assert np.ptp(trained) > 0.01
    np.testing.assert_allclose(cached, trained, atol=2e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"value_loss": "pairwise"}, "value_loss is 'pairwise'.*mse or bce"),
        ({"early_stopping_patience": 0}, "early_stopping_patience is 0"),
        ({"max_steps": 4}, "max_steps is 4"),
        ({"gradient_accumulation_steps": 2}, "gradient_accumulation_steps is 2"),
        ({"new_learning_rate": 0.1}, "new_learning_rate is 0.1"),
    ],
)
def test_settings_that_a_head_on_cached_states_does_not_follow_are_refused(completions, config, settings, message):
    with pytest.raises(ConfigError, match=message):
        head_values(config(**settings), completions, states_of(completions, completions.right), fold=0)
