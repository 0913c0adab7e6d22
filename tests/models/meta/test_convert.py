"""A converted model says what the checkpoint says, and back is the checkpoint again, bit for bit."""

import json
import multiprocessing
import os
import signal
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.models.meta.meta_format import logits, made, params, state, write
from weighted_mtp.cli.main import main
from weighted_mtp.models import MTPModel
from weighted_mtp.models.meta import convert, layout
from weighted_mtp.models.meta.convert import from_meta, to_meta

TOKENS = torch.randint(0, 51, (2, 13), generator=torch.Generator().manual_seed(3))


def loaded(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "consolidated.00.pth", weights_only=True, mmap=True)


@pytest.mark.parametrize("n_future", [1, 2, 4])
@pytest.mark.parametrize("n_kv_heads", [4, 2, 1], ids=["multi-head", "grouped", "one for all"])
def test_every_head_gives_the_logits_of_the_format(tmp_path, n_future, n_kv_heads):
    p = params(n_future_tokens=n_future, n_kv_heads=n_kv_heads)
    weights = state(p)
    from_meta(write(tmp_path / "meta", p, weights), tmp_path / "out")
    model = MTPModel.from_pretrained(tmp_path / "out")
    assert model.n_future == n_future
    wanted = logits(p, weights, TOKENS)
    with torch.no_grad():
        torch.testing.assert_close(model.full_forward(TOKENS)["logits"], wanted, atol=1e-5, rtol=0)
        plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out")(TOKENS).logits
    torch.testing.assert_close(plain, wanted[:, :, 0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("changed", "ffn"),
    [
        ({"rope_theta": 1000000.0}, None),
        ({"ffn_dim_multiplier": 1.3, "multiple_of": 16}, 112),  # int(1.3 * 85) = 110
        ({"multiple_of": None}, 37),
        ({"norm_eps": 0.1, "n_kv_heads": None}, None),
        ({"norm_eps": 1}, None),
        ({"vocab_size": -1}, None),
    ],
    ids=["rope_theta", "ffn_dim_multiplier", "odd feed-forward", "norm_eps", "whole norm_eps", "vocabulary of tensors"],
)
def test_what_params_says_is_carried_over(tmp_path, changed, ffn):
    p = params(**changed)
    weights = state(p | {"vocab_size": 51}, ffn)
    from_meta(write(tmp_path / "meta", p, weights), tmp_path / "out")
    with torch.no_grad():
        found = MTPModel.from_pretrained(tmp_path / "out").full_forward(TOKENS)["logits"]
    torch.testing.assert_close(found, logits(p, weights, TOKENS), atol=1e-5, rtol=0)


@pytest.mark.parametrize("n_kv_heads", [4, 2])
def test_without_the_permutation_the_logits_are_far_off(tmp_path, n_kv_heads, monkeypatch):
    monkeypatch.setattr(convert, "rotary_rows", lambda rows, heads, to_meta: rows)
    p = params(n_kv_heads=n_kv_heads)
    weights = state(p)
    from_meta(write(tmp_path / "meta", p, weights), tmp_path / "out")
    with torch.no_grad():
        found = MTPModel.from_pretrained(tmp_path / "out").full_forward(TOKENS)["logits"]
    apart = (found - logits(p, weights, TOKENS)).abs()
    assert apart[:, 0].max() < 1e-4  # the first position is not turned
    assert apart.amax((0, 1, 3)).min() > 0.5  # and then every head is wrong


@pytest.mark.parametrize(("files", "embedding_cut"), [(1, 1), (2, 1), (2, 0)], ids=["one", "two", "two as Llama 3"])
def test_there_and_back_is_the_same_bit_for_bit(tmp_path, files, embedding_cut):
    p = params(n_kv_heads=2, vocab_size=52)
    weights = state(p, dtype=torch.bfloat16)
    source = write(tmp_path / "meta", p, weights, files, embedding_cut)
    from_meta(source, tmp_path / "out")
    to_meta(tmp_path / "out", tmp_path / "back")
    back = loaded(tmp_path / "back")
    assert list(back) == list(weights)
    assert all(torch.equal(back[name], tensor) for name, tensor in weights.items())
    assert {tensor.dtype for tensor in back.values()} == {torch.bfloat16}
    before, after = (layout.read_params(folder / "params.json")[0] for folder in (source, tmp_path / "back"))
    assert before == after
    from_meta(tmp_path / "back", tmp_path / "again")
    for file in (tmp_path / "out").iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name


def test_tensors_of_several_precisions_keep_theirs(tmp_path):
    weights = {
        name: tensor if "norm" in name else tensor.bfloat16() if "layers" in name else tensor.half()
        for name, tensor in state(params()).items()
    }
    from_meta(write(tmp_path / "meta", params(), weights), tmp_path / "out")
    assert MTPModel.from_pretrained(tmp_path / "out").dtype == torch.float32  # that holds them all
    to_meta(tmp_path / "out", tmp_path / "back")
    back = loaded(tmp_path / "back")
    assert all(back[name].dtype == tensor.dtype and torch.equal(back[name], tensor) for name, tensor in weights.items())


def test_what_is_written_back_is_a_sound_zip_with_aligned_tensors(tmp_path):
    from_meta(made(tmp_path / "meta"), tmp_path / "out")
    to_meta(tmp_path / "out", tmp_path / "back")
    with zipfile.ZipFile(tmp_path / "back" / "consolidated.00.pth") as archive:
        assert archive.testzip() is None
    assert all(tensor.data_ptr() % 64 == 0 for tensor in loaded(tmp_path / "back").values())
    unmapped = torch.load(tmp_path / "back" / "consolidated.00.pth", weights_only=True)
    assert all(torch.equal(unmapped[name], tensor) for name, tensor in state(params()).items())


def test_a_model_of_ours_goes_to_the_format(tmp_path, make_lm, trained):
    model = trained(MTPModel(make_lm("llama"), n_future=3))
    model.save_pretrained(tmp_path / "ours")
    to_meta(tmp_path / "ours", tmp_path / "meta")
    p = json.loads((tmp_path / "meta" / "params.json").read_text())
    assert (p["n_layers"], p["n_future_tokens"]) == (5, 3)
    with torch.no_grad():
        wanted = model.full_forward(TOKENS)["logits"]
    torch.testing.assert_close(logits(p, loaded(tmp_path / "meta"), TOKENS), wanted, atol=2e-5, rtol=1e-5)


def test_tied_embeddings_are_written_twice(tmp_path, make_lm):
    make_lm("llama", tie_word_embeddings=True).save_pretrained(tmp_path / "tied")
    to_meta(tmp_path / "tied", tmp_path / "meta")
    found = loaded(tmp_path / "meta")
    assert torch.equal(found["output.weight"], found["tok_embeddings.weight"])


def test_a_value_head_is_left_out_and_that_is_said(tmp_path, make_lm):
    MTPModel(make_lm("llama"), value_head=True).save_pretrained(tmp_path / "ours")
    said = to_meta(tmp_path / "ours", tmp_path / "meta")
    assert said[0] == "its value head or critic has no place in Meta's format and is left out"


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("qwen2", {}, "model_type is 'qwen2'"),
        ("llama", {"attention_bias": True}, "attention_bias is True"),
        ("llama", {"head_dim": 16}, "head_dim is 16"),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "rope_type"),
    ],
)
def test_what_the_format_cannot_say_is_refused(tmp_path, make_lm, family, options, message):
    make_lm(family, **options).save_pretrained(tmp_path / "plain")
    with pytest.raises(ValueError, match=message):
        to_meta(tmp_path / "plain", tmp_path / "meta")
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]


def test_an_incomplete_directory_is_refused_by_name(tmp_path, make_lm):
    make_lm("llama").save_pretrained(tmp_path / "plain")
    config = json.loads((tmp_path / "plain" / "config.json").read_text())
    (tmp_path / "plain" / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    with pytest.raises(ValueError, match=r"plain is incomplete: it lacks model\.layers\.3\.\* \(9\)$"):
        to_meta(tmp_path / "plain", tmp_path / "meta")


def test_tensors_that_config_does_not_name_are_told(tmp_path, make_lm):
    make_lm("llama").save_pretrained(tmp_path / "plain")
    file = tmp_path / "plain" / "model.safetensors"
    bias, table = "model.layers.0.self_attn.q_proj.bias", "model.layers.0.self_attn.rotary_emb.inv_freq"
    save_file({**load_file(file), bias: torch.zeros(32), table: torch.zeros(4)}, file, {"format": "pt"})
    said = to_meta(tmp_path / "plain", tmp_path / "meta")
    assert said[0] == f"config.json does not name these tensors, which are left out: {bias}"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"weighted_mtp": {"n_future": 10**9}}, "holds 30 tensors, and config.json makes 1000000002 blocks"),
        ({"weighted_mtp": {"n_future": "x"}}, "config.json: n_future is 'x', not a whole number from 1 on"),
        ({"num_attention_heads": 0}, "config.json: "),
        (
            {"hidden_size": None},
            "config.json: Validation error for field 'hidden_size': TypeError: Field 'hidden_size'",
        ),
    ],
)
def test_a_config_that_makes_no_such_model_is_told(tmp_path, make_lm, capsys, changed, message):
    make_lm("llama").save_pretrained(tmp_path / "plain")
    config = json.loads((tmp_path / "plain" / "config.json").read_text())
    (tmp_path / "plain" / "config.json").write_text(json.dumps(config | changed))
    assert main(["convert", "to-meta", str(tmp_path / "plain"), "--out", str(tmp_path / "meta")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "content"),
    [("model.safetensors.index.json", b"{"), ("model-00001-of-00001.safetensors", b"x" * 99), ("config.json", b"[]")],
)
def test_a_broken_directory_is_refused(tmp_path, capsys, file, content):
    from_meta(made(tmp_path / "meta"), tmp_path / "out")
    (tmp_path / "out" / file).write_bytes(content)
    assert main(["convert", "to-meta", str(tmp_path / "out"), "--out", str(tmp_path / "back")]) == 2
    assert capsys.readouterr().err.startswith("wmtp: error: ")
    assert not (tmp_path / "back").exists()


# how it is written


def test_output_is_cut_into_shards_with_an_index(tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "SHARD", 40_000)
    from_meta(made(tmp_path / "meta"), tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").glob("*.safetensors"))
    assert names == [f"model-0000{i}-of-00004.safetensors" for i in (1, 2, 3, 4)] + ["weighted_mtp.safetensors"]
    assert max((tmp_path / "out" / name).stat().st_size for name in names[:-1]) < 45_000
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == {*names[:-1]}
    with torch.no_grad():
        found = MTPModel.from_pretrained(tmp_path / "out").full_forward(TOKENS)["logits"]
    torch.testing.assert_close(found, logits(params(), state(params()), TOKENS), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_dtype_is_that_of_the_checkpoint_or_the_one_asked_for(tmp_path, dtype):
    from_meta(made(tmp_path / "meta"), tmp_path / "out", dtype)
    model = MTPModel.from_pretrained(tmp_path / "out")
    assert str(model.dtype) == f"torch.{dtype}"
    wanted = state(params())["norm.weight"].to(model.dtype)
    assert torch.equal(model.state_dict()["hf_model.model.norm.weight"], wanted)
    to_meta(tmp_path / "out", tmp_path / "back", "float32")
    assert {tensor.dtype for tensor in loaded(tmp_path / "back").values()} == {torch.float32}


def test_a_value_beyond_float16_is_refused_by_name(tmp_path):
    weights = state(params())
    weights["extra_heads.1.feed_forward.w3.weight"][3, 3] = 1e6
    source = write(tmp_path / "meta", params(), weights)
    with pytest.raises(ValueError, match=r"extra_heads\.1\.mlp\.up_proj\.weight has values that float16 cannot hold"):
        from_meta(source, tmp_path / "out", "float16")
    assert not (tmp_path / "out").exists()


def test_something_at_the_place_is_not_written_over(tmp_path):
    source = made(tmp_path / "meta")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="is there and not empty: give a new folder"):
        from_meta(source, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "out").mkdir()
    from_meta(made(tmp_path / "meta"), tmp_path / "out")
    assert (tmp_path / "out" / "config.json").is_file()


def test_an_empty_folder_behind_a_link_is_taken(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk")
    from_meta(made(tmp_path / "meta"), tmp_path / "out")
    assert (tmp_path / "disk" / "config.json").is_file()
    assert (tmp_path / "out").is_symlink()


@pytest.mark.parametrize("mounted", [False, True], ids=["current folder", "mounted"])
def test_an_empty_folder_that_cannot_be_replaced_is_told_before_anything_is_read(tmp_path, monkeypatch, mounted):
    (tmp_path / "out").mkdir()
    if mounted:
        monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path / "out")
    else:
        monkeypatch.chdir(tmp_path / "out")
    with pytest.raises(ValueError, match="give a new folder inside it"):
        from_meta(tmp_path / "nowhere", tmp_path / "out" if mounted else Path())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def _killed_at(source: Path, out: Path, tensor: int) -> None:
    from_meta(source, out, tell=lambda i, count: os.kill(os.getpid(), signal.SIGKILL) if i == tensor else None)


@pytest.mark.parametrize("tensor", [1, 30, 48])
def test_a_killed_conversion_leaves_nothing_under_the_name_and_the_next_one_clears_up(tmp_path, tensor):
    source = made(tmp_path / "meta")
    process = multiprocessing.get_context("fork").Process(target=_killed_at, args=(source, tmp_path / "out", tensor))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    from_meta(source, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["meta", "out"]
    assert MTPModel.from_pretrained(tmp_path / "out").n_future == 4


def test_the_reading_of_the_format_here_is_causal_and_its_heads_differ():
    """Of the tests' own reading."""
    p = params()
    whole = logits(p, state(p), TOKENS)
    torch.testing.assert_close(logits(p, state(p), TOKENS[:, :7]), whole[:, :7])
    assert (whole[:, :, 0] - whole[:, :, 1]).abs().max() > 1
