"""Attention by row is torch's own over the whole sequence with a mask that keeps rows apart."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from weighted_mtp.models.row_attention import LONGEST, ROWS

SPANS = [(0, 0, 5), (0, 5, 9), (1, 0, 7)]
GROUPS = SimpleNamespace(num_key_value_groups=2)


def masked(window):
    mask = torch.eye(10, dtype=torch.bool).expand(2, 1, 10, 10).clone()
    for i, a, b in SPANS:
        mask[i, 0, a:b, a:b] = torch.ones(b - a, b - a, dtype=torch.bool).tril().triu(1 - window)
    return mask


def drawn():
    generator = torch.Generator().manual_seed(0)
    shapes = (2, 4, 10, 6), (2, 2, 10, 6), (2, 2, 10, 3)
    return [torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True) for s in shapes]


@pytest.mark.parametrize("window", [10, 2])
def test_rows_attend_and_learn_as_under_a_mask_over_the_whole_sequence(window):
    inputs, mask = drawn(), masked(window)
    out, _ = AttentionInterface()[ROWS](GROUPS, *inputs, mask, scaling=0.3, dropout=0.0, row_spans=SPANS)
    expected = scaled_dot_product_attention(*inputs, mask, scale=0.3, enable_gqa=True).transpose(1, 2)
    weights = torch.zeros_like(out)
    for i, a, b in SPANS:
        weights[i, a:b] = torch.arange(3.0) + 1
    torch.testing.assert_close(out, torch.where(weights > 0, expected, 0))
    gradients, wanted = (torch.autograd.grad((x * weights).square().sum(), inputs) for x in (out, expected))
    torch.testing.assert_close(gradients, wanted)


@pytest.mark.parametrize("spans", [None, [(0, 0, LONGEST + 1)]])
def test_without_rows_or_with_one_too_long_to_hold_its_pairs_it_is_sdpa(spans):
    inputs, mask = drawn(), masked(10)
    out, _ = AttentionInterface()[ROWS](GROUPS, *inputs, mask, row_spans=spans)
    torch.testing.assert_close(out, scaled_dot_product_attention(*inputs, mask, enable_gqa=True).transpose(1, 2))


def test_a_batch_without_tokens_attends_to_nothing():
    inputs = drawn()
    out, _ = AttentionInterface()[ROWS](GROUPS, *inputs, masked(10), row_spans=[])
    assert out.shape == (2, 10, 4, 3)
    gradients = torch.autograd.grad(out.sum(), inputs)
    assert not any(x.any() for x in (out, *gradients))
