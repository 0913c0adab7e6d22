"""Heads that follow one another: what they compute, what is saved of them, and what they draft."""

import json
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import log_softmax, pad, silu, softmax
from transformers import AutoModelForCausalLM, LlamaConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRotaryEmbedding

from tests.models.conftest import make, move
from tests.models.test_native_heads import heads_of, same, step
from weighted_mtp.losses import mtp_targets, weighted_mtp_loss
from weighted_mtp.models import CriticSpec, MTPModel
from weighted_mtp.models.eagle import write_eagle
from weighted_mtp.models.meta.convert import to_meta
from weighted_mtp.models.packing import Packing
from weighted_mtp.value_weighting import align_to_heads


def model_of(lm: Any, n_future: int = 3, heads: Any = "sequential", **options: Any) -> Any:
    return move(MTPModel(lm, n_future=n_future, heads=heads, **options)).eval()


def rms(x, weight):
    return weight * x / (x.square().mean() + 1e-6).sqrt()


def turned(x, position):
    """Rotary positions, written out: pairs (i, i + half) turn by position / 10000^(2i / dim)."""
    half = len(x) // 2
    angle = position / 10000 ** (torch.arange(half) / half)
    return torch.cat([x[:half] * angle.cos() - x[half:] * angle.sin(), x[half:] * angle.cos() + x[:half] * angle.sin()])


def naive_state(weights, inputs):
    """One decoder layer of a Llama with 4 query and 2 key heads of 8, at the last of its inputs, head by head."""
    normed = [rms(x, weights["input_layernorm.weight"]) for x in inputs]
    q, k, v, o = (weights[f"self_attn.{name}_proj.weight"] for name in "qkvo")
    last, mixed = len(inputs) - 1, []
    for head in range(4):
        query = turned((q @ normed[last])[head * 8 : head * 8 + 8], last)
        group = slice(head // 2 * 8, head // 2 * 8 + 8)
        keys = torch.stack([turned((k @ x)[group], i) for i, x in enumerate(normed)])
        share = softmax(keys @ query / 8**0.5, dim=0)
        mixed.append(share @ torch.stack([(v @ x)[group] for x in normed]))
    state = inputs[last] + o @ torch.cat(mixed)
    x = rms(state, weights["post_attention_layernorm.weight"])
    gate, up, down = (weights[f"mlp.{name}_proj.weight"] for name in ("gate", "up", "down"))
    return state + down @ (silu(gate @ x) * (up @ x))


def test_the_loss_of_each_head_is_that_of_an_explicit_loop():
    model = model_of(make("llama"))
    ids = torch.tensor([7, 19, 4, 88, 51, 23, 9])
    token_weights = torch.tensor([0.5, 2.0, 1.0, 0.3, 0.0, 1.5, 1.0])
    first = model.hf_model.model(ids[None]).last_hidden_state[0]
    embed, unembed = model.hf_model.model.embed_tokens.weight, model.hf_model.lm_head.weight
    per_head, total, states = [], 0.0, list(first)
    for k in (1, 2):
        parts = model.extra_heads[k - 1].state_dict()
        block = {name.removeprefix("mtp_block."): x for name, x in parts.items() if name.startswith("mtp_block.")}
        inputs = []
        for t in range(len(ids) - k):
            embedding = rms(embed[ids[t + k]], parts["enorm.weight"])
            inputs.append(parts["eh_proj.weight"] @ torch.cat([embedding, rms(states[t], parts["hnorm.weight"])]))
        states = [rms(naive_state(block, inputs[: t + 1]), parts["post_norm.weight"]) for t in range(len(inputs))]
        losses = [-log_softmax(unembed @ states[t], 0)[ids[t + k + 1]] for t in range(len(ids) - k - 1)]
        weighed = sum(w * loss for w, loss in zip(token_weights[k:], losses, strict=False))
        per_head.append(weighed / token_weights[k : k + len(losses)].sum())
        total += weighed
    out = weighted_mtp_loss(
        model(ids[None])["hidden_states"],
        targets=mtp_targets(ids[None], 3),
        weights=align_to_heads(token_weights[None], 3),
        normalizer="sum",
        head_weights=[0.0, 1.0, 1.0],
        **model.output_head(),
    )
    torch.testing.assert_close(out.weighted_ce_per_head[1:], torch.stack(per_head), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out.loss, total, rtol=1e-4, atol=1e-4)


def test_head_0_and_values_are_as_without_and_a_head_sees_up_to_the_token_before_its_own(any_lm):
    model = model_of(any_lm, value_head=True)
    ids = torch.arange(3, 15).repeat(2, 1)
    ids[1, 7] = 99
    torch.testing.assert_close(model.full_forward(ids)["logits"][..., 0, :], any_lm(ids).logits, rtol=1e-4, atol=1e-4)
    outputs = model(ids)
    torch.testing.assert_close(outputs["values"], model.trunk_forward(ids)["values"])
    one, other = outputs["hidden_states"]
    for k in range(3):
        assert torch.equal(one[: 7 - k, k], other[: 7 - k, k])
        assert not torch.allclose(one[7 - k, k], other[7 - k, k], atol=1e-6)


def test_padded_and_packed_rows_are_as_each_alone(any_lm):
    model, rows = model_of(any_lm), [torch.arange(3, 12), torch.arange(40, 45)]
    for side in ("left", "right", "packed"):
        ids = torch.stack([pad(row, (9 - len(row), 0) if side == "left" else (0, 9 - len(row))) for row in rows])
        mask = ids.bool().long()
        packing = Packing(torch.tensor([[0, 1]]), 16) if side == "packed" else None
        positions = (mask.cumsum(1) - 1).clamp(min=0) if packing is None else None
        hidden = model(ids, mask, positions, packing=packing)["hidden_states"]
        hidden = hidden if packing is None else packing.layout(mask).rows(hidden)
        for i, row in enumerate(rows):
            alone = model(row[None])["hidden_states"][0, :-2]
            torch.testing.assert_close(hidden[i][mask[i].bool()][:-2], alone, rtol=1e-3, atol=1e-4)


def test_what_is_saved_is_read_again_and_stands_beside_a_plain_model(any_lm, tmp_path):
    model, ids = model_of(any_lm), torch.arange(3, 15)[None]
    model.save_pretrained(tmp_path)
    again = MTPModel.from_pretrained(tmp_path).eval()
    assert (again.extra_heads.kind, again.n_future) == ("sequential", 3)
    assert torch.equal(again(ids)["hidden_states"], model(ids)["hidden_states"])
    beside = load_file(tmp_path / "weighted_mtp.safetensors")
    assert beside.keys() == heads_of(model).keys()
    assert {name.split(".")[2] for name in beside} == {"enorm", "hnorm", "eh_proj", "mtp_block", "post_norm"}
    load: Any = AutoModelForCausalLM.from_pretrained
    _, report = load(tmp_path, output_loading_info=True)
    assert not any(report.values())


def test_a_head_more_starts_anew_behind_those_that_were_saved(tmp_path):
    model, ids = model_of(make("llama"), 2), torch.arange(3, 15)[None]
    model.save_pretrained(tmp_path)
    more = MTPModel.from_pretrained(tmp_path, n_future=3).eval()
    assert torch.equal(more(ids)["hidden_states"][..., :2, :], model(ids)["hidden_states"])
    assert same(heads_of(MTPModel.from_pretrained(model)), heads_of(model))
    with pytest.raises(ValueError, match="holds sequential heads, got heads 'parallel'"):
        MTPModel.from_pretrained(tmp_path, heads="parallel")


def test_activations_that_are_recomputed_leave_the_gradients():
    gradients = []
    for recompute in (False, True):
        model = model_of(make("llama"))
        if recompute:
            model.gradient_checkpointing_enable()
        step(model)
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    assert gradients[0]["extra_heads.1.eh_proj.weight"].abs().sum() > 0
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


def test_adapters_leave_what_is_new_to_train_and_a_checkpoint_brings_it_back(tmp_path):
    model, ids = model_of(make("llama"), 2), torch.arange(3, 15)[None]
    model.hf_model.save_pretrained(tmp_path / "base")
    start = heads_of(model)["extra_heads.0.eh_proj.weight"].clone()
    model.add_lora(2, alpha=32)
    step(model, 3)
    assert not torch.equal(model.extra_heads[0].eh_proj.weight, start)
    model.save_pretrained(tmp_path / "saved")
    merged = MTPModel.from_pretrained(tmp_path / "saved").eval()
    torch.testing.assert_close(merged(ids)["hidden_states"], model(ids)["hidden_states"], rtol=1e-3, atol=1e-4)
    resumed = model_of(make("llama"), 2)
    resumed.add_lora(2, alpha=32)
    resumed.load_weights(tmp_path / "saved")
    assert torch.equal(resumed(ids)["hidden_states"], model(ids)["hidden_states"])


def test_heads_train_alone_on_a_frozen_trunk():
    model, start = model_of(make("llama")), model_of(make("llama"))
    model.freeze_trunk(extra_heads=True)
    step(model)
    assert same(model.hf_model.state_dict(), start.hf_model.state_dict())
    assert all(not torch.equal(x, heads_of(start)[name]) for name, x in heads_of(model).items())


@pytest.mark.parametrize(("n_future", "steps"), [(2, 6), (4, 0), (4, 6)])
def test_drafts_are_those_of_a_model_that_reads_all_anew_each_time(n_future, steps):
    """Caches hold nothing of drafts that were not taken."""
    model, prompt = model_of(make("llama"), n_future).double(), [5, 6, 7]
    asked = {"max_new_tokens": 24, "eos_token_id": None}
    plain = model.generate(torch.tensor([prompt]), **asked)[0].tolist()
    overfit(model, plain, steps)
    made: list[list[int]] = []
    draft = model.extra_heads.draft

    def recorded(*args: Any) -> torch.Tensor:
        made.append((found := draft(*args))[0].tolist())
        return found

    model.extra_heads.draft = recorded  # pyright: ignore
    drafted = model.generate(torch.tensor([prompt]), **asked, drafts=True)
    assert drafted[0].tolist() == plain
    written, expected = 4, list[list[int]]()
    while written < len(plain):
        guesses: list[int] = []
        for k in range(1, n_future):
            logits = model.full_forward(torch.tensor([plain[:written] + guesses]))["logits"][0, written - 2, k]
            guesses.append(int(logits.argmax()))
        expected.append(guesses)
        right = [guess == token for guess, token in zip(guesses, plain[written:-1], strict=False)]
        written += 1 + [*right, False].index(False)
    assert made[1:] == expected  # the first is made while the prompt is read, of nothing
    assert len(made) < 20 or not steps


def overfit(model: MTPModel, ids: list[int], steps: int) -> None:
    """Has the heads learn some of a text."""
    model.freeze_trunk(extra_heads=True)
    optimizer = torch.optim.Adam(model.extra_heads.parameters(), lr=3e-3)
    targets = mtp_targets(torch.tensor([ids]), model.n_future)
    for _ in range(steps):
        hidden = model(torch.tensor([ids]))["hidden_states"]
        optimizer.zero_grad()
        weighted_mtp_loss(hidden, targets=targets, **model.output_head()).loss.backward()
        optimizer.step()


KEYS = {
    "fc.weight": [32, 64],
    "fc.bias": [32],
    "layers.0.self_attn.q_proj.weight": [32, 32],
    "layers.0.self_attn.k_proj.weight": [16, 32],
    "layers.0.self_attn.v_proj.weight": [16, 32],
    "layers.0.self_attn.o_proj.weight": [32, 32],
    "layers.0.mlp.gate_proj.weight": [64, 32],
    "layers.0.mlp.up_proj.weight": [64, 32],
    "layers.0.mlp.down_proj.weight": [32, 64],
    "layers.0.post_attention_layernorm.weight": [32],
}
"""The parameters of EagleLlamaForCausalLM of vLLM 0.33.0 and LlamaForCausalLMEagle of SGLang 0.5.23, as files name
them, but for embedding and unembedding, which both take from the decoder; the bias of fc is SGLang's alone."""
BIASES = {f"layers.0.self_attn.{name}_proj.bias": [16 if name in "kv" else 32] for name in "qkvo"}


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2"])
def test_an_eagle_folder_has_the_keys_that_servers_load_and_computes_the_head(family, tmp_path):
    model = model_of(make(family, **({"sliding_window": None} if family == "mistral" else {})), 2, "eagle")
    ids = torch.arange(3, 15)[None]
    write_eagle(model, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    assert {name: list(x.shape) for name, x in tensors.items()} == KEYS | (BIASES if family == "qwen2" else {})
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["model_type"], config["num_hidden_layers"]) == ("llama", 1)
    assert config["architectures"] == ["LlamaForCausalLMEagle", "LlamaForCausalLM"]
    # As both servers build it: no norm before the attention, none behind the layer.
    settings: Any = LlamaConfig.from_pretrained(tmp_path)
    settings._attn_implementation = "eager"
    layer: Any = LlamaDecoderLayer(settings, 0)
    layer.input_layernorm = torch.nn.Identity()
    named = {name.removeprefix("layers.0."): x for name, x in tensors.items() if name.startswith("layers.")}
    layer.load_state_dict(named)
    states = model(ids)["hidden_states"]
    joined = torch.cat([model.hf_model.get_input_embeddings()(ids[:, 1:]), states[:, :-1, 0]], dim=-1)
    x = joined @ tensors["fc.weight"].T + tensors["fc.bias"]
    mask = torch.full((11, 11), -torch.inf).triu(1)[None, None]
    turns = LlamaRotaryEmbedding(settings)(x, torch.arange(11)[None])
    torch.testing.assert_close(
        layer(x, attention_mask=mask, position_embeddings=turns), states[:, :-1, 1], rtol=1e-4, atol=1e-5
    )


def test_eagle_heads_are_saved_and_read_again(tmp_path):
    model, ids = model_of(make("llama"), 2, "eagle"), torch.arange(3, 15)[None]
    model.save_pretrained(tmp_path)
    again = MTPModel.from_pretrained(tmp_path).eval()
    assert again.extra_heads.kind == "eagle"
    assert torch.equal(again(ids)["hidden_states"], model(ids)["hidden_states"])


@pytest.mark.parametrize(
    ("family", "options", "said"),
    [
        ("llama", {"heads": "eagle", "n_future": 3}, "is one head.*n_future is 3: give n_future: 2"),
        ("gemma2", {"heads": "eagle", "n_future": 2}, "model type 'gemma2' is none: give heads: sequential"),
        ("mistral", {"heads": "eagle", "n_future": 2}, "without a window"),
        ("llama", {"heads": "sequence", "n_future": 2}, "give one of parallel, sequential, eagle, native"),
        ("llama", {"heads": "sequential", "n_future": 2, "critic": CriticSpec("generative")}, "no sequential heads"),
    ],
    ids=["two eagle heads", "not Llama's layers", "a window", "a word", "a critic"],
)
def test_what_cannot_be_is_one_line(family, options, said):
    with pytest.raises(ValueError, match=said):
        MTPModel(make(family), **options)


def test_an_eagle_head_begins_as_head_0_and_not_in_4_bits():
    lm = make("llama")
    model = MTPModel(lm, n_future=2, heads="eagle").eval()
    first, second = model(torch.arange(3, 15)[None])["hidden_states"].unbind(-2)
    torch.testing.assert_close(second, first)
    lm.is_loaded_in_4bit = True
    with pytest.raises(ValueError, match=r"heads: eagle starts with weights of 0.*give load_in_4bit: false"):
        MTPModel(lm, n_future=2, heads="eagle")


def test_a_sequential_head_begins_with_a_state_of_the_size_that_its_layer_knows(any_lm):
    read: list[torch.Tensor] = []
    model = MTPModel(any_lm, n_future=2, heads="sequential").eval()
    for layer in (model.hf_model.get_decoder().layers[-1], model.extra_heads[0].mtp_block):
        layer.register_forward_pre_hook(lambda layer, args: read.append(args[0]))
    model(torch.arange(3, 15)[None])
    of_trunk, of_head = (x.square().mean().sqrt() for x in read)
    assert 0.5 < of_head / of_trunk < 2


def test_a_decoder_without_a_final_norm_is_refused():
    lm = make("opt", do_layer_norm_before=False)
    with pytest.raises(ValueError, match="sequential ones need a final norm"):
        MTPModel(lm, n_future=2, heads="sequential")


def test_metas_format_has_no_place_for_them(tmp_path):
    model_of(make("llama")).save_pretrained(tmp_path / "saved")
    with pytest.raises(ValueError, match="has sequential heads, and Meta's format takes parallel ones alone"):
        to_meta(tmp_path / "saved", tmp_path / "meta")


@pytest.mark.parametrize("heads", ["parallel", "sequential"])
def test_only_an_eagle_head_becomes_an_eagle_folder(heads, tmp_path):
    with pytest.raises(ValueError, match=f"heads: eagle and n_future: 2, and this model has {heads} heads"):
        write_eagle(MTPModel(make("llama"), n_future=2, heads=heads), tmp_path)
