"""Chunks and tiles: their lengths, and that nothing depends on where they end."""

from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from weighted_mtp.losses import weighted_mtp_loss
from weighted_mtp.losses.chunks import rows_per_chunk, rows_per_tile

from .conftest import example, naive, relative_error

# about 60 kept rows in tiles of 32, a vocabulary of 8,003 in blocks of 6,553
TILED = {"batch": 1, "seq": 64, "n_future": 2, "dim": 40, "vocab": 8_003}


def default_chunk(rows: int, vocab: int, dim: int, dtype: torch.dtype) -> int:
    return rows_per_chunk(rows, torch.empty(vocab, dim, dtype=dtype, device="meta"), torch.float32, None)


@pytest.mark.parametrize(("dtype", "rows"), [(torch.float32, 384), (torch.bfloat16, 832)])
def test_a_default_chunk_takes_at_most_the_given_share_of_the_gradient_in_equal_whole_steps(
    dtype: torch.dtype, rows: int
):
    # .82 * 512 = 419 rows of float32: 384 in steps of 64, 11 chunks of 373, 384 in steps of 64
    # .82 * 1024 = 839 rows of bf16: 832, 5 chunks of 820, 832
    assert default_chunk(4_096, 32_768, 512, dtype) == rows


def test_a_default_chunk_of_a_narrow_model_holds_two_million_logits():
    assert default_chunk(4_096, 4_096, 32, torch.float32) == 2**21 // 4_096


@pytest.mark.parametrize(("rows", "chunk"), [(0, 1), (1, 1), (50, 50), (65, 65)])
def test_a_chunk_is_no_longer_than_the_rows(rows: int, chunk: int):
    assert default_chunk(rows, 32, 4, torch.float32) == chunk


def test_a_given_chunk_size_is_shortened_to_make_chunks_equal():
    assert rows_per_chunk(10, torch.empty(3, 2), torch.float32, 7) == 5


def test_a_tile_stays_in_the_cache_of_a_processor_and_is_longer_elsewhere():
    assert rows_per_tile(4_096, 32_768, torch.device("cpu")) == 8
    assert rows_per_tile(4_096, 2**30, torch.device("cpu")) == 1
    assert rows_per_tile(4_096, 32_768, torch.device("cuda")) == 512


@pytest.mark.parametrize(("vocab", "rows"), [(32_768, 4_096), (98_304, 2_688), (131_072, 2_048), (262_144, 2_048)])
def test_a_chunk_on_an_accelerator_holds_two_to_four_thousand_rows_under_half_a_gibibyte(vocab: int, rows: int):
    with FakeTensorMode():  # a CUDA tensor without contents, on any machine
        weight = torch.empty(vocab, 4_096, dtype=torch.bfloat16, device="cuda")
        assert rows_per_chunk(10**6, weight, torch.float32, None) == rows


@pytest.mark.parametrize("options", [{}, {"softcap": 4.0, "logit_scale": 0.5}], ids=["plain", "capped"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 1.6e-2)])
def test_gradients_do_not_depend_on_where_tiles_end(dtype: torch.dtype, bound: float, options: dict[str, Any]):
    inputs, bias = example(**TILED, dtype=dtype), torch.linspace(-1, 1, TILED["vocab"]).to(dtype)
    bias.requires_grad_()
    weighted_mtp_loss(**inputs, bias=bias, **options).loss.backward()
    reference = naive(*inputs.values(), bias=bias, **options)
    assert relative_error(inputs["hidden"].grad, reference.hidden_grad) <= bound
    assert relative_error(inputs["lm_head_weight"].grad, reference.weight_grad) <= bound
    assert relative_error(bias.grad, reference.bias_grad) <= bound


def test_the_gradient_of_a_bf16_unembedding_is_laid_out_like_it():
    inputs = example(**TILED, dtype=torch.bfloat16)
    weighted_mtp_loss(**inputs).loss.backward()
    assert inputs["lm_head_weight"].grad.is_contiguous()


@pytest.mark.filterwarnings("ignore")  # the tracer warns about its own handling of autograd functions
def test_a_compiled_model_around_the_loss_learns_the_same():
    inputs, layer = example(), nn.Linear(5, 5)

    def loss_of(hidden: torch.Tensor, unembedding: torch.Tensor) -> torch.Tensor:
        return weighted_mtp_loss(layer(hidden), unembedding, inputs["targets"], inputs["weights"]).loss

    learned = (inputs["hidden"], inputs["lm_head_weight"], layer.weight)
    expected = torch.autograd.grad(loss_of(*learned[:2]), learned)
    for compiled in (
        lambda h, u: (
            weighted_mtp_loss(
                torch.compile(layer, backend="aot_eager")(h), u, inputs["targets"], inputs["weights"]
            ).loss
        ),
        torch.compile(loss_of, backend="aot_eager"),
    ):
        torch.testing.assert_close(torch.autograd.grad(compiled(*learned[:2]), learned), expected)
