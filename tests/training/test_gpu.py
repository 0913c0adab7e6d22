"""Training on CUDA: packed rows are the same rows by every attention there, and a stopped run goes on where it was."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available, is_flash_attn_4_available

from weighted_mtp.data import chain_tokenizer
from weighted_mtp.models import MTPModel

from .test_packing import PACKED, STAGES, loss_and_gradients, require_equal_when_packed

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
FLASH = {2: is_flash_attn_2_available, 3: is_flash_attn_3_available, 4: is_flash_attn_4_available}


@pytest.mark.parametrize("case", STAGES)
def test_packed_rows_have_the_loss_and_gradients_of_padded_rows_on_a_gpu(prepare, case):
    stage, settings = STAGES[case]
    require_equal_when_packed(prepare(stage, **{**PACKED, "n_future": 3, "tracking_uri": "none", **settings}))


@pytest.fixture(scope="module")
def wide_heads(tmp_path_factory):
    """A tiny model whose heads are as wide as the kernels of flash attention want them."""
    torch.manual_seed(0)
    tokenizer, folder = chain_tokenizer(), tmp_path_factory.mktemp("wide")
    sizes = {"hidden_size": 128, "intermediate_size": 172, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **sizes)
    MTPModel(LlamaForCausalLM(config)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("version", FLASH)
def test_flash_attention_gives_packed_rows_the_loss_and_gradients_of_padded_rows(prepare, wide_heads, version):
    if not FLASH[version]():
        pytest.skip(f"flash attention {version} is not installed")

    def run(attention):
        settings = {"n_future": 3, "dtype": "bfloat16", "tracking_uri": "none", "model_name_or_path": wide_heads}
        return prepare(**{**PACKED, **settings, "attn_implementation": attention})

    flash, sdpa = run(f"flash_attention_{version}"), run("sdpa")
    packed = flash.trainer._prepare_inputs(next(iter(flash.trainer.train_batches())))
    assert len(packed["packs"]) == 1, "one sequence a batch"
    padded = {name: x for name, x in packed.items() if name not in ("packs", "pack_length")}
    loss, gradients = loss_and_gradients(flash, packed)
    expected_loss, expected = loss_and_gradients(sdpa, padded)
    assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-2)
    for name, gradient in gradients.items():
        wanted = expected[name].float()
        assert (gradient.float() - wanted).norm() <= 3e-2 * wanted.norm(), name


def test_a_stopped_run_on_a_gpu_goes_on_where_it_was(prepare, tmp_path):
    settings = {**PACKED, "per_device_train_batch_size": 1, "max_steps": 6, "save_steps": 3, "tracking_uri": "none"}
    whole = prepare("verifiable", **settings, output_dir=str(tmp_path / "whole"))
    whole.fit()
    resumed = prepare("verifiable", **settings, output_dir=str(tmp_path / "again"))
    resumed.fit(tmp_path / "whole" / "checkpoint-3")
    expected = dict(whole.inputs.model.named_parameters())
    for name, parameter in resumed.inputs.model.named_parameters():
        torch.testing.assert_close(parameter, expected[name], rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
