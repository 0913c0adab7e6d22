"""`heads: native`: the multi-token layers of a checkpoint, trained as extra heads and saved under their own names."""

import copy
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.cache_utils import MtpCache
from transformers.modeling_layers import MtpModel

from tests.models.released import plain_tensors, release
from weighted_mtp.losses import mtp_targets, weighted_mtp_loss
from weighted_mtp.models import MTPModel
from weighted_mtp.models.packing import Packing

DEPTHS = {"mellum": 3, "glm4_moe": 46, "deepseek_v3": 61}
"""Decoder layers behind which transformers looks for multi-token layers: a number of its own for two families."""


def native(folder, n_future=2, **options) -> Any:
    return MTPModel.from_pretrained(folder, n_future=n_future, heads="native", dtype="float32", **options).eval()


def in_transformers(folder) -> Any:
    return MtpModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder))


@pytest.fixture(scope="module", params=DEPTHS)
def source(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    release(folder, request.param, DEPTHS[request.param])
    return folder


@pytest.fixture(scope="module")
def mellum(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mellum")
    release(folder, "mellum")
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A checkpoint with two multi-token layers."""
    folder = tmp_path_factory.mktemp("two")
    release(folder, "deepseek_v3", count=2)
    return folder


def step(model, times: int = 1) -> None:
    """Of an optimizer, with our loss."""
    ids = torch.randint(3, 120, (2, 12), generator=torch.Generator().manual_seed(1))
    targets = mtp_targets(ids, model.n_future)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    model.train()
    for _ in range(times):
        optimizer.zero_grad()
        weighted_mtp_loss(model(ids)["hidden_states"], targets=targets, **model.output_head()).loss.backward()
        optimizer.step()
    model.eval()


def heads_of(model) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if name.startswith("extra_heads.")}


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_head_computes_what_the_layer_does_in_transformers(source):
    model, ids = native(source), torch.arange(3, 15)[None]
    hidden = model(ids)["hidden_states"]
    stock, config = in_transformers(source), model.config.get_mtp_config()
    positions = torch.arange(1, 12)[None]
    expected = stock.float().forward_layer(
        0, hidden[:, :-1, 0], positions, MtpCache(config=config), input_ids=ids[:, 1:]
    )
    torch.testing.assert_close(hidden[:, :-1, 1], expected, rtol=1e-4, atol=1e-5)


def test_the_second_layer_follows_the_first(two):
    model, ids = native(two, 3), torch.arange(3, 15)[None]
    _, first, second = model(ids)["hidden_states"].unbind(-2)
    changed = ids.clone()
    changed[0, 7] = 99
    _, other_first, other_second = model(changed)["hidden_states"].unbind(-2)
    torch.testing.assert_close(first[0, :6], other_first[0, :6], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(second[0, :5], other_second[0, :5], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(second[0, 5], other_second[0, 5], rtol=1e-2)
    model.extra_heads[0].eh_proj.weight.data.mul_(2)
    _, moved_first, moved_second = model(ids)["hidden_states"].unbind(-2)
    assert not torch.equal(first, moved_first)
    assert not torch.equal(second, moved_second)


@pytest.mark.parametrize("side", ["left", "right", "packed"])
def test_rows_of_a_batch_are_as_each_alone(mellum, side):
    model, lengths = native(mellum), [9, 5]
    rows = [torch.randint(3, 120, (n,), generator=torch.Generator().manual_seed(n)) for n in lengths]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_side="left" if side == "left" else "right")
    mask = torch.nn.utils.rnn.pad_sequence(
        [torch.ones_like(row) for row in rows], batch_first=True, padding_side="left" if side == "left" else "right"
    )
    packing = Packing(torch.tensor([[0, 1]]), 16) if side == "packed" else None
    hidden = model(ids, mask, packing=packing)["hidden_states"]
    if packing is not None:
        hidden = packing.layout(mask).rows(hidden)
    for i, row in enumerate(rows):
        alone = model(row[None])["hidden_states"][0, :-1]
        torch.testing.assert_close(hidden[i][mask[i].bool()][:-1], alone, rtol=1e-4, atol=1e-5)


def test_a_head_sees_the_token_before_the_one_that_it_predicts_and_none_behind(mellum):
    model, ids = native(mellum), torch.arange(3, 15).repeat(2, 1)
    ids[1, 7] = 99
    one, other = model(ids)["hidden_states"][..., 1, :]
    assert torch.equal(one[:6], other[:6])
    assert not torch.equal(one[6], other[6])


def test_what_was_trained_is_saved_under_its_own_names_for_all_to_read(source, tmp_path):
    model = native(source)
    before = heads_of(model)
    before = {name: tensor.clone() for name, tensor in before.items()}
    step(model)
    model.save_pretrained(tmp_path)
    stock = {
        f"extra_heads.{n.removeprefix('layers.')}": t for n, t in in_transformers(tmp_path).layers.state_dict().items()
    }
    assert same(stock, heads_of(model))
    assert not same(before, heads_of(model))
    assert plain_tensors(tmp_path).keys() == plain_tensors(source).keys()
    assert not (tmp_path / "weighted_mtp.safetensors").exists()
    assert same(heads_of(MTPModel.from_pretrained(tmp_path)), heads_of(model))


def test_copies_of_embedding_and_unembedding_beside_a_layer_are_those_of_now(two, tmp_path):
    model = native(two, 3)
    step(model)
    model.save_pretrained(tmp_path)
    saved = plain_tensors(tmp_path)
    for beside, own in (("embed_tokens", "model.embed_tokens"), ("shared_head.head", "lm_head")):
        assert torch.equal(saved[f"model.layers.4.{beside}.weight"], saved[f"{own}.weight"])


def written(folder, count: int = 8, **settings) -> tuple[torch.Tensor, int]:
    """So many greedy tokens of the plain model in a folder, and its forwards."""
    plain: Any = AutoModelForCausalLM.from_pretrained(folder)
    forwards: list[int] = []
    plain.register_forward_hook(lambda *_: forwards.append(1))
    ids = torch.randint(3, 120, (2, 12), generator=torch.Generator().manual_seed(1))[:1, :6]
    return plain.generate(ids, max_new_tokens=count, do_sample=False, eos_token_id=None, **settings), len(forwards)


def test_transformers_writes_with_saved_layers_as_drafts_what_it_writes_without(source, tmp_path):
    model = native(source)
    step(model)
    model.save_pretrained(tmp_path)
    assert torch.equal(written(tmp_path, use_mtp=True)[0], written(tmp_path)[0])


def test_what_was_trained_drafts_in_transformers(mellum, tmp_path):
    model = native(mellum)
    step(model, 40)
    model.save_pretrained(tmp_path)
    drafted, plain = (written(tmp_path, 6, **settings) for settings in ({"use_mtp": True}, {}))
    assert torch.equal(drafted[0], plain[0])
    assert (drafted[1], plain[1]) == (4, 6)


def test_fewer_layers_than_there_are_leave_the_others_as_they_were(two, tmp_path):
    model = native(two, 2)
    step(model)
    model.save_pretrained(tmp_path)
    saved, stored = plain_tensors(tmp_path), plain_tensors(two)
    later = [name for name in stored if name.startswith("model.layers.4.")]
    assert later
    assert all(torch.equal(saved[name], stored[name]) for name in later)
    assert not torch.equal(saved["model.layers.3.eh_proj.weight"], stored["model.layers.3.eh_proj.weight"].float())


def test_a_model_in_memory_keeps_its_heads(mellum):
    model = native(mellum)
    step(model)
    again = MTPModel.from_pretrained(model, value_head=True)
    assert again.extra_heads is model.extra_heads
    assert same(heads_of(copy.deepcopy(again)), heads_of(model))
    with pytest.raises(ValueError, match="has 1 native heads: give n_future 2"):
        MTPModel.from_pretrained(model, n_future=3)


def test_weights_of_a_checkpoint_are_taken_over_in_place(mellum, tmp_path):
    model, other = native(mellum), native(mellum)
    step(model)
    model.save_pretrained(tmp_path)
    other.load_weights(tmp_path)
    assert same(other.state_dict(), model.state_dict())


def test_adapters_train_them_and_are_merged_on_saving(mellum, tmp_path):
    model, ids = native(mellum), torch.arange(3, 15)[None]
    model.add_lora(2, alpha=32)
    step(model, 2)
    model.save_pretrained(tmp_path)
    hidden = MTPModel.from_pretrained(tmp_path).eval()(ids)["hidden_states"]
    torch.testing.assert_close(hidden, model(ids)["hidden_states"], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(hidden[..., 1, :], native(mellum)(ids)["hidden_states"][..., 1, :], atol=1e-3)


def test_they_train_alone_on_a_frozen_trunk(mellum):
    model, start = native(mellum), native(mellum)
    model.freeze_trunk(extra_heads=True)
    step(model)
    assert same(model.hf_model.state_dict(), start.hf_model.state_dict())
    assert not same(heads_of(model), heads_of(start))


def test_a_batch_is_written_with_drafts_as_without(two):
    model, batch = native(two, 3), {"input_ids": torch.arange(3, 15).view(2, 6), "attention_mask": torch.ones(2, 6)}
    batch["attention_mask"][0, :2] = 0
    step(model, 10)
    plain = model.generate(**batch, max_new_tokens=12, eos_token_id=None)
    found = model.generate(**batch, max_new_tokens=12, eos_token_id=None, drafts=True, return_dict_in_generate=True)
    assert torch.equal(found.sequences, plain)
    assert sum(row.accepted[0] for row in found.drafts) > 4


def test_activations_that_are_recomputed_leave_the_gradients(mellum):
    gradients = []
    for recompute in (False, True):
        model = native(mellum)
        if recompute:
            model.gradient_checkpointing_enable()
        step(model)
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert "extra_heads.0.eh_proj.weight" in gradients[0]
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_saved_native_heads_are_not_taken_for_parallel_ones(mellum, tmp_path):
    native(mellum).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds native heads, got heads 'parallel'"):
        MTPModel.from_pretrained(tmp_path, heads="parallel")


@pytest.mark.parametrize(
    ("family", "n_future", "why"),
    [
        ("mellum", 3, "holds 1 multi-token layers, and n_future is 3"),
        ("qwen3_5_text", 2, "transformers reads none from"),
    ],
)
def test_layers_that_are_not_there_or_not_known_are_one_error(tmp_path, family, n_future, why):
    release(tmp_path, family)
    with pytest.raises(ValueError, match=why):
        native(tmp_path, n_future)


def test_a_plain_checkpoint_has_none(make_lm, tmp_path):
    make_lm("llama").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"transformers reads none from .*holds none.*: give heads: parallel"):
        native(tmp_path)
