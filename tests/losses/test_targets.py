import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from weighted_mtp.losses import mtp_targets


def test_head_k_is_asked_for_the_token_k_plus_one_ahead():
    labels = torch.tensor([[10, 11, 12, 13]])
    assert mtp_targets(labels, 3)[0].tolist() == [[11, 12, 13], [12, 13, -100], [13, -100, -100], [-100, -100, -100]]


def test_the_last_prompt_token_predicts_the_first_response_token():
    assert mtp_targets(torch.tensor([[-100, -100, 5, 6]]), 1)[0, :, 0].tolist() == [-100, 5, 6, -100]


def test_an_ignored_label_is_ignored_by_every_head_that_would_predict_it():
    assert mtp_targets(torch.tensor([[1, 2, -100, 4]]), 2)[0].tolist() == [
        [2, -100],
        [-100, 4],
        [4, -100],
        [-100, -100],
    ]


def test_no_prediction_crosses_a_segment_boundary_or_touches_padding():
    labels = torch.tensor([[1, 2, 3, 4, 5, 6, 7]])
    segment_ids = torch.tensor([[3, 3, 3, 1, 1, 0, 0]])
    assert mtp_targets(labels, 2, segment_ids)[0].tolist() == [
        [2, 3],
        [3, -100],
        [-100, -100],
        [5, -100],
        [-100, -100],
        [-100, -100],
        [-100, -100],
    ]


def test_more_heads_than_tokens_leave_the_far_heads_without_targets():
    assert mtp_targets(torch.tensor([[1, 2]]), 4)[0].tolist() == [[2, -100, -100, -100], [-100] * 4]


def test_int32_labels_give_int64_targets():
    assert mtp_targets(torch.tensor([[1, 2]], dtype=torch.int32), 1).dtype == torch.int64


def test_a_row_of_length_zero_has_no_targets():
    assert mtp_targets(torch.zeros(2, 0, dtype=torch.long), 3).shape == (2, 0, 3)


@given(
    labels=st.lists(st.integers(0, 9) | st.just(-100), min_size=1, max_size=8),
    lengths=st.lists(st.integers(1, 3), min_size=8, max_size=8),
    padded=st.integers(0, 3),
    n_future=st.integers(1, 4),
)
def test_targets_follow_the_definition(labels: list[int], lengths: list[int], padded: int, n_future: int):
    seq = len(labels)
    ids = [i + 1 for i, n in enumerate(lengths) for _ in range(n)][:seq]
    ids[max(0, seq - padded) :] = [0] * min(padded, seq)
    targets = mtp_targets(torch.tensor([labels]), n_future, torch.tensor([ids]))
    for t in range(seq):
        for k in range(n_future):
            u = t + 1 + k
            exists = u < seq and ids[t] != 0 and ids[t] == ids[u]
            assert targets[0, t, k] == (labels[u] if exists else -100)


@pytest.mark.parametrize("n_future", [0, -1, 1.5, True])
def test_n_future_must_be_a_positive_whole_number(n_future: int):
    with pytest.raises(ValueError, match="at least 1"):
        mtp_targets(torch.tensor([[1, 2]]), n_future)


def test_labels_must_be_two_dimensional():
    with pytest.raises(ValueError, match=r"labels has shape \[2\]; \[any, any\] is needed"):
        mtp_targets(torch.tensor([1, 2]), 1)


def test_labels_must_be_integers():
    with pytest.raises(ValueError, match=r"labels has dtype torch\.float32"):
        mtp_targets(torch.zeros(1, 2), 1)


def test_segment_ids_must_have_the_shape_of_labels():
    with pytest.raises(ValueError, match=r"segment_ids has shape \[1, 3\]; \[1, 2\] is needed"):
        mtp_targets(torch.tensor([[1, 2]]), 1, torch.tensor([[1, 1, 1]]))
