"""Packs: every row once, nothing too long, as many in every epoch, and the order that a sampler stands for."""

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from weighted_mtp.data import NO_ROW, RankBatches, make_sampler
from weighted_mtp.data.packing import PackedOrder, PackedRows, best_fit, row_lengths

LENGTHS = np.random.default_rng(0).integers(5, 60, size=600)


@given(st.lists(st.integers(1, 12), max_size=40))
def test_best_fit_holds_every_item_once_within_the_capacity(lengths):
    packs = best_fit(lengths, 12)
    assert sorted(item for pack in packs for item in pack) == list(range(len(lengths)))
    assert all(sum(lengths[item] for item in pack) <= 12 for pack in packs)
    assert len(packs) <= 2 * sum(lengths) / 12 + 1  # any two packs hold more than one capacity


def test_best_fit_finds_the_least_number_of_packs_where_items_fill_them():
    assert len(best_fit([7, 5, 3, 9, 8, 4, 1, 11, 12, 6, 6], 12)) == 6


def rows(n=600, seed=0):
    rng = np.random.default_rng(seed)
    prompt = np.arange(n) // 4
    easy = prompt < n // 8
    reward = (rng.random(n) < np.where(easy, 0.9, 0.1)).astype(float)
    return Dataset.from_dict({"prompt_id": prompt, "reward": reward, "labels": [[1]] * n})


@pytest.mark.parametrize("name", ["shuffled", "balanced", "pairs", "length_balanced", "curriculum"])
def test_epochs_differ_and_have_as_many_packs(name):
    order = PackedOrder(make_sampler(name, rows(), 2), LENGTHS, 128)
    epochs = []
    for epoch in range(4):
        order.set_epoch(epoch)
        epochs.append(list(order))
        assert all(LENGTHS[list(pack)].sum() <= 128 for pack in epochs[-1])
    assert {len(packs) for packs in epochs} == {len(order)}
    assert epochs[0] != epochs[1]
    order.set_epoch(0)
    assert list(order) == epochs[0]


def test_shuffled_packs_hold_every_row_once_in_every_epoch():
    order = PackedOrder(make_sampler("shuffled", rows(), 1), LENGTHS, 128)
    for epoch in range(3):
        order.set_epoch(epoch)
        assert sorted(row for pack in order for row in pack) == list(range(600))


def test_packs_are_nearly_full():
    order = PackedOrder(make_sampler("shuffled", rows(), 1), LENGTHS, 256)
    assert LENGTHS.sum() / (len(order) * 256) > 0.97


@pytest.mark.parametrize("name", ["balanced", "pairs", "length_balanced"])
def test_pairs_stay_in_one_pack(name):
    table = rows()
    reward = np.asarray(table["reward"])
    for pack in PackedOrder(make_sampler(name, table, 2), LENGTHS, 128):
        assert reward[list(pack)].mean() == 0.5


def test_a_pair_longer_than_a_pack_is_split_and_none_of_its_rows_lost():
    table = Dataset.from_dict({"prompt_id": [1, 1], "reward": [1.0, 0.0], "labels": [[1], [1]]})
    assert sorted(PackedOrder(make_sampler("pairs", table, 2), np.array([7, 8]), 10)) == [(0,), (1,)]


def test_easy_prompts_still_come_first_when_packed():
    table = rows(6000)
    order = PackedOrder(make_sampler("curriculum", table, 1), np.tile(LENGTHS, 10), 128)
    reward = np.asarray(table["reward"])
    packs = [reward[list(pack)].mean() for pack in order]
    third = len(packs) // 3
    assert np.mean(packs[:third]) > np.mean(packs[third : 2 * third]) > np.mean(packs[2 * third :])


def test_ranks_share_the_packs_and_one_without_any_gets_no_row():
    packs = [(0, 2), (1,), (3, 4)]
    dealt = [list(RankBatches(packs, batch_size=1, rank=rank, world=2)) for rank in range(2)]
    assert dealt == [[[(0, 2)], [(3, 4)]], [[(1,)], [NO_ROW]]]
    assert PackedRows({NO_ROW: "no row"}).__getitems__([NO_ROW]) == [["no row"]]


def test_row_lengths_count_tokens():
    table = Dataset.from_dict({"input_ids": [[1, 2, 3], [4], [5, 6]]}).select([2, 0])
    assert row_lengths(table).tolist() == [2, 3]
