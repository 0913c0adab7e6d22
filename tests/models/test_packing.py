"""Rows that share a sequence in a decoder are the rows alone, in every family, sliding windows included."""

import pytest
import torch

from tests.models.conftest import FAMILIES, make
from weighted_mtp.models import MTPModel
from weighted_mtp.models.architecture import require_packable
from weighted_mtp.models.packing import Packing
from weighted_mtp.models.row_attention import ROWS

LENGTHS = torch.tensor([13, 4, 7, 1, 9])
MASK = (torch.arange(13) < LENGTHS[:, None]).long()
PACKING = Packing(torch.tensor([[0, 1, -1], [2, 3, 4]]), length=20)
WINDOWS = {
    "mistral": {"sliding_window": 3},
    "phi3": {"sliding_window": 3},
    "gemma2": {"sliding_window": 3},
    "gemma3_text": {"sliding_window": 3},
    "qwen2": {"sliding_window": 3, "use_sliding_window": True, "max_window_layers": 1},
    "qwen3": {"sliding_window": 3, "use_sliding_window": True, "max_window_layers": 1},
}


def states_and_values(family, options, attention):
    decoder = make(family, **options)
    decoder.set_attn_implementation("eager" if family == "gemma2" else attention)  # its logits are capped, eager only
    model = MTPModel(decoder, n_future=3, value_head=True).eval()
    torch.nn.init.normal_(model.value_head.weight)
    require_packable(model)
    ids = torch.randint(3, 120, MASK.shape, generator=torch.Generator().manual_seed(1)) * MASK
    with torch.no_grad():
        padded, packed = model(ids, MASK), model(ids, MASK, packing=PACKING)
    return padded, packed | {"hidden_states": PACKING.layout(MASK).rows(packed["hidden_states"])}


@pytest.mark.parametrize("attention", ["sdpa", "eager", ROWS])
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_have_the_states_and_values_of_padded_rows(family, attention):
    padded, packed = states_and_values(family, {}, attention)
    for name in ("hidden_states", "values"):
        torch.testing.assert_close(packed[name][MASK.bool()], padded[name][MASK.bool()], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("attention", ["sdpa", ROWS])
@pytest.mark.parametrize("family", WINDOWS)
def test_a_sliding_window_ends_where_its_row_begins(family, attention):
    padded, packed = states_and_values(family, WINDOWS[family], attention)
    torch.testing.assert_close(
        packed["hidden_states"][MASK.bool()], padded["hidden_states"][MASK.bool()], rtol=1e-4, atol=1e-5
    )


def test_rows_padded_on_the_left_and_masked_in_the_middle_are_packed_without_their_gaps():
    mask = torch.tensor([[0, 1, 0, 1], [1, 1, 1, 1]])
    layout = Packing(torch.tensor([[1, 0]]), 6).layout(mask)
    ids = torch.tensor([[0, 5, 0, 6], [1, 2, 3, 4]])
    assert layout.pack(ids).tolist() == [[1, 2, 3, 4, 5, 6]]
    assert layout.positions.tolist() == [[0, 1, 2, 3, 0, 1]]
    assert layout.rows(layout.pack(ids)).tolist() == [[0, 5, 0, 6], [1, 2, 3, 4]]
