import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weighted_mtp.data import CompletionCollator, chain_tokenizer, tokenize_rows

TOKENIZER = chain_tokenizer()
PAD = 24


def collate(rows, **options):
    data, _ = tokenize_rows(rows, TOKENIZER)
    return CompletionCollator(PAD, **options)([data[i] for i in range(len(data))])


def row(n_prompt, n_completion, **more):
    """n_prompt digits, a colon, n_completion digits."""
    return {"prompt": "1 " * n_prompt + ":", "completion": "2 " * n_completion, "label": True} | more


ROWS = [row(1, 1, label=False), row(2, 3)]


def test_a_batch_holds_exactly_these_tensors():
    batch = collate(ROWS)
    assert {name: (tuple(t.shape), t.dtype) for name, t in batch.items()} == {
        "input_ids": ((2, 7), torch.int64),
        "attention_mask": ((2, 7), torch.int64),
        "labels": ((2, 7), torch.int64),
        "rewards": ((2,), torch.float32),
        "pass_rate": ((2,), torch.float32),
        "row_ids": ((2,), torch.int64),
        "prompt_ids": ((2,), torch.int64),
    }


def test_right_padding_comes_after_the_row():
    batch = collate(ROWS)
    assert batch["input_ids"][0].tolist() == [1, 22, 2, 23, PAD, PAD, PAD]
    assert batch["attention_mask"][0].tolist() == [1, 1, 1, 1, 0, 0, 0]
    assert batch["labels"][0].tolist() == [-100, -100, 2, 23, -100, -100, -100]


def test_left_padding_comes_before_the_row():
    batch = collate(ROWS, padding_side="left")
    assert batch["input_ids"][0].tolist() == [PAD, PAD, PAD, 1, 22, 2, 23]
    assert batch["attention_mask"][0].tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert batch["labels"][0].tolist() == [-100, -100, -100, -100, -100, 2, 23]


def test_the_length_is_rounded_up_to_the_multiple():
    assert collate(ROWS, pad_to_multiple_of=8)["input_ids"].shape == (2, 8)
    assert collate(ROWS, pad_to_multiple_of=7)["input_ids"].shape == (2, 7)


def test_rewards_and_ids_follow_their_rows():
    batch = collate([row(1, 1, label=False), row(2, 1), row(1, 2)])
    assert batch["rewards"].tolist() == [0.0, 1.0, 1.0]
    assert batch["row_ids"].tolist() == [0, 1, 2]
    assert batch["prompt_ids"][0] == batch["prompt_ids"][2] != batch["prompt_ids"][1]


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_weight_stands_where_its_token_is_predicted(side):
    batch = collate([row(1, 2, weights=[5, 6, 7]), row(1, 1, weights=[8, 9])], padding_side=side)
    # row 0: 1 : 2 2 eos; the colon predicts the first 2, the last 2 predicts eos
    assert batch["weights"][0].tolist() == [0, 5, 6, 7, 0]
    assert batch["weights"][1].tolist() == ([0, 8, 9, 0, 0] if side == "right" else [0, 0, 8, 9, 0])


scored_rows = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4)), min_size=1, max_size=4)


@settings(deadline=None, max_examples=40)
@given(shapes=scored_rows, side=st.sampled_from(["right", "left"]), multiple=st.sampled_from([None, 1, 8]))
def test_every_entry_lands_on_the_position_that_predicts_its_token(shapes, side, multiple):
    # Entry j of row i is 100 * i + j + 1, so that each can be told from every other.
    entries = [[100 * i + j + 1 for j in range(c + 1)] for i, (_, c) in enumerate(shapes)]
    rows = [row(p, c, values=e, td_errors=e) for (p, c), e in zip(shapes, entries, strict=True)]
    batch = collate(rows, padding_side=side, pad_to_multiple_of=multiple)
    predicts = torch.nn.functional.pad(batch["labels"][:, 1:] != -100, (0, 1))
    for name in ("values", "td_errors"):
        assert [r[m].tolist() for r, m in zip(batch[name], predicts, strict=True)] == entries
        assert not batch[name][~predicts].any()
        assert batch[name].shape == batch["labels"].shape


def test_a_column_that_only_some_rows_have_is_refused():
    data, _ = tokenize_rows([row(1, 1, weights=[1, 1])], TOKENIZER)
    without = {name: value for name, value in data[0].items() if name != "weights"} | {"row_id": 7}
    with pytest.raises(ValueError, match="row 7 has no `weights`, which other rows of its batch have"):
        CompletionCollator(PAD)([data[0], without])


def test_a_column_that_does_not_fit_its_labels_is_refused():
    data, _ = tokenize_rows([row(1, 1, weights=[1, 1])], TOKENIZER)
    with pytest.raises(ValueError, match="row 0: `weights` has 1 entries for 2 labelled tokens"):
        CompletionCollator(PAD)([data[0] | {"weights": [1.0]}])


def test_the_pad_token_comes_from_the_tokenizer_or_is_eos(tokenizer):
    assert CompletionCollator.from_tokenizer(TOKENIZER, padding_side="left") == CompletionCollator(PAD, "left")
    assert tokenizer.pad_token_id is None
    assert CompletionCollator.from_tokenizer(tokenizer).pad_token_id == tokenizer.eos_token_id


@pytest.mark.parametrize("options", [{"padding_side": "both"}, {"pad_to_multiple_of": 0}])
def test_an_impossible_padding_is_refused(options):
    with pytest.raises(ValueError, match="is needed"):
        CompletionCollator(PAD, **options)
