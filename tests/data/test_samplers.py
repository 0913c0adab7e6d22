import numpy as np
import pytest
from accelerate import Accelerator, skip_first_batches
from datasets import Dataset
from torch.utils.data import DataLoader

from weighted_mtp.data import (
    IGNORED,
    NO_ROW,
    SAMPLERS,
    CompletionCollator,
    DataError,
    RankBatches,
    WithNoRow,
    make_sampler,
)
from weighted_mtp.training.batch import on_device

N = 400


def rows(right, prompt=None, length=None):
    n = len(right)
    return Dataset.from_dict(
        {
            "reward": [float(r) for r in right],
            "prompt_id": list(prompt if prompt is not None else range(n)),
            "labels": [[-100] + [1] * int(k) for k in (length if length is not None else [3] * n)],
        }
    )


@pytest.fixture(scope="module")
def data():
    """25 % right, eight rows a prompt, and the shortcut: wrong rows are longer."""
    rng = np.random.default_rng(0)
    right = rng.random(N) < 0.25
    return rows(right, np.arange(N) // 8, rng.poisson(np.where(right, 12, 18)) + 1)


def order(sampler, epoch=0):
    sampler.set_epoch(epoch)
    return list(sampler)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_order_is_a_function_of_seed_and_epoch_alone(data, name):
    first, second = (make_sampler(name, data, 8, seed=3) for _ in range(2))
    order(second, epoch=5)  # what was drawn before does not matter
    assert order(first, epoch=2) == order(second, epoch=2)


@pytest.mark.parametrize("name", SAMPLERS)
def test_another_epoch_and_another_seed_give_another_order(data, name):
    sampler, other = make_sampler(name, data, 8, seed=3), make_sampler(name, data, 8, seed=4)
    assert order(sampler, 0) != order(sampler, 1)
    assert order(sampler, 0) != order(other, 0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_length_of_a_sampler_is_the_number_of_rows_it_gives(data, name):
    sampler = make_sampler(name, data, 8)
    drawn = order(sampler)
    assert len(drawn) == len(sampler)
    assert all(0 <= i < N for i in drawn)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_run_resumed_within_an_epoch_sees_the_rest_of_the_same_order(data, name):
    def batches(skip):
        ours = RankBatches(make_sampler(name, data, 8), 8, rank=1, world=2, drop_last=True)
        loader = on_device(DataLoader(list(range(N)), batch_sampler=ours), Accelerator(cpu=True))  # pyright: ignore
        loader.set_epoch(1)
        return [batch.tolist() for batch in (skip_first_batches(loader, skip) if skip else loader)]  # pyright: ignore

    assert batches(skip=7) == batches(skip=0)[7:] != []


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("name", SAMPLERS)
def test_processes_take_together_the_steps_of_one_and_no_row_twice(data, name, world):
    joint, sampler = 4 * world, make_sampler(name, data, 4)
    order = list(sampler)
    ranks = [list(RankBatches(sampler, 4, rank, world)) for rank in range(world)]
    steps = [[row for batch in step for row in batch if row != NO_ROW] for step in zip(*ranks, strict=True)]
    assert steps == [order[start : start + joint] for start in range(0, len(order), joint)]
    assert [len(RankBatches(sampler, 4, rank, world)) for rank in range(world)] == [len(steps)] * world


@pytest.mark.parametrize("world", [2, 3])
def test_no_pair_is_torn_between_processes(data, world):
    prompt = np.asarray(data["prompt_id"][:])
    for rank in range(world):
        for batch in RankBatches(make_sampler("pairs", data, 4), 4, rank, world):
            if batch != [NO_ROW]:
                pairs = prompt[batch].reshape(-1, 2)
                assert (pairs[:, 0] == pairs[:, 1]).all()


def test_a_short_last_step_can_be_left_out():
    ranks = [list(RankBatches(range(9), 2, rank, 2, drop_last=True)) for rank in range(2)]
    assert ranks == [[[0, 1], [4, 5]], [[2, 3], [6, 7]]]


def test_with_fewer_rows_than_processes_the_others_have_none():
    assert [list(RankBatches(range(2), 1, rank, 3)) for rank in range(3)] == [[[0]], [[1]], [[NO_ROW]]]


def test_no_row_has_the_columns_of_the_others_and_nothing_to_learn():
    row = {"input_ids": [5, 6, 7], "labels": [-100, 6, 7], "weights": [1.0, 2.0], "reward": 1.0}
    batch = CompletionCollator(0)([WithNoRow([row | {"row_id": 0, "prompt_id": 9}])[NO_ROW]])
    assert batch["row_ids"].tolist() == [NO_ROW]
    assert (batch["labels"] == IGNORED).all()
    assert (batch["weights"] == 0).all()


def test_shuffled_gives_every_row_once(data):
    assert sorted(order(make_sampler("shuffled", data, 8))) == list(range(N))


@pytest.mark.parametrize("name", ["balanced", "pairs", "length_balanced"])
def test_every_batch_of_even_size_is_half_right(data, name):
    reward = np.asarray(data["reward"][:])[order(make_sampler(name, data, 8))]
    assert (reward.reshape(-1, 2) == [1, 0]).all()


def test_balanced_shows_each_rarer_row_equally_often_and_no_other_row_twice(data):
    times = np.bincount(order(make_sampler("balanced", data, 8)), minlength=N)
    right = np.asarray(data["reward"][:]) == 1
    assert np.ptp(times[right]) <= 1
    assert times[right].sum() == times[~right].sum() == N // 2
    assert times[~right].max() == 1


def test_balanced_shows_other_rows_of_the_larger_class_in_another_epoch(data):
    sampler = make_sampler("balanced", data, 8)
    assert set(order(sampler, 0)) != set(order(sampler, 1))


def test_pairs_are_of_the_same_prompt(data):
    prompt = np.asarray(data["prompt_id"][:])[order(make_sampler("pairs", data, 8))].reshape(-1, 2)
    assert (prompt[:, 0] == prompt[:, 1]).all()


def test_pairs_leave_out_prompts_answered_one_way_only():
    sampler = make_sampler("pairs", rows([1, 0, 1, 1, 0, 0], prompt=[5, 5, 7, 7, 9, 9]), 2)
    assert order(sampler) == [0, 1]
    assert sampler.left_out == 4  # pyright: ignore[reportAttributeAccessIssue]


def test_length_does_not_predict_the_label_in_length_balanced_order(data):
    length = np.asarray([len(labels) for labels in data["labels"]])
    reward = np.asarray(data["reward"][:])

    def gap(index):
        return length[index][reward[index] == 0].mean() - length[index][reward[index] == 1].mean()

    assert gap(np.arange(N)) > 4.5
    sampler = make_sampler("length_balanced", data, 8)
    assert abs(np.mean([gap(np.asarray(order(sampler, epoch))) for epoch in range(5)])) < 0.5


def test_each_length_bin_is_half_right():
    # Lengths 1 and 2, one bin each; the row of length 9 is longer than every right row.
    data = rows([1, 0, 0, 1, 1, 0, 0], length=[1, 1, 1, 2, 2, 2, 9])
    sampler = make_sampler("length_balanced", data, 2, n_bins=4)
    drawn = np.asarray(order(sampler))
    assert sampler.left_out == 1  # pyright: ignore[reportAttributeAccessIssue]
    pairs = drawn.reshape(-1, 2)
    assert {tuple(pair) for pair in pairs.tolist()} <= {(0, 1), (0, 2), (3, 5), (4, 5)}
    assert len(pairs) == 2  # 3 // 2 of each bin


def test_curriculum_goes_from_prompts_that_succeed_to_prompts_that_fail():
    # Prompt 0 succeeds always, prompt 1 never: s = 9/10 and 1/10, so P(prompt 0) is 1.0/1.2, then 0.2/1.2.
    data = rows([1] * 8 + [0] * 8, prompt=[0] * 8 + [1] * 8)
    sampler = make_sampler("curriculum", data, 8, epochs=2)
    assert sampler.success_rate.tolist() == [0.9] * 8 + [0.1] * 8  # pyright: ignore[reportAttributeAccessIssue]
    shares = []
    for epoch in (0, 1, 2, 9):
        drawn = [order(make_sampler("curriculum", data, 8, seed, epochs=2), epoch) for seed in range(300)]
        shares.append(np.mean(np.asarray(drawn) < 8))
    # progress averages 7.5 / 32 over the first epoch, 23.5 / 32 over the second, and is 1 from then on
    expected = [(1.0 - 0.8 * p) / 1.2 for p in (7.5 / 32, 23.5 / 32, 1, 1)]
    assert shares == pytest.approx(expected, abs=0.03)


def test_curriculum_can_show_every_row_at_any_time(data):
    sampler = make_sampler("curriculum", data, 8)
    assert len({i for epoch in range(40) for i in order(sampler, epoch)}) == N


@pytest.mark.parametrize("name", ["balanced", "pairs", "length_balanced"])
@pytest.mark.parametrize(("label", "word"), [(1, "right"), (0, "wrong")])
def test_data_of_one_class_cannot_be_paired(name, label, word):
    with pytest.raises(DataError, match=f"all 3 rows are {word}: .* use the sampler 'shuffled'"):
        make_sampler(name, rows([label] * 3), 2)


def test_pairs_need_a_prompt_with_both_answers():
    with pytest.raises(DataError, match=r"none of the 4 rows shares its prompt .*use the sampler 'balanced'"):
        make_sampler("pairs", rows([1, 0, 1, 0]), 2)


def test_lengths_that_do_not_overlap_cannot_be_balanced():
    with pytest.raises(DataError, match="share no length"):
        make_sampler("length_balanced", rows([1, 1, 0, 0], length=[1, 2, 8, 9]), 2)


def test_an_odd_batch_cannot_hold_pairs(data):
    with pytest.raises(ValueError, match="batch_size is 3: PairSampler needs an even one"):
        make_sampler("pairs", data, 3)


def test_an_unknown_sampler_lists_the_choices_nearest_first(data):
    with pytest.raises(ValueError, match=r"no sampler 'pair': pairs, .*curriculum"):
        make_sampler("pair", data, 8)


def test_an_unknown_option_names_the_ones_there_are(data):
    with pytest.raises(ValueError, match="'length_balanced' takes no bins: it takes n_bins"):
        make_sampler("length_balanced", data, 8, bins=3)
    with pytest.raises(ValueError, match="'shuffled' takes no n_bins: it takes no options"):
        make_sampler("shuffled", data, 8, n_bins=3)


@pytest.mark.parametrize(
    ("name", "batch_size", "options"),
    [("shuffled", 0, {}), ("length_balanced", 2, {"n_bins": 0}), ("curriculum", 2, {"epochs": 0})],
)
def test_an_impossible_number_is_refused(data, name, batch_size, options):
    with pytest.raises(ValueError, match="is needed"):
        make_sampler(name, data, batch_size, **options)


def test_no_rows_cannot_be_sampled():
    with pytest.raises(DataError, match="no row to sample"):
        make_sampler("shuffled", rows([]), 2)
