import json
import logging
import shutil

import pytest
import torch
from huggingface_hub import constants
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BertConfig, BertModel, T5Config, T5ForConditionalGeneration

from tests.models.former_layout import as_before
from weighted_mtp.models import CriticSpec, MTPModel
from weighted_mtp.models.sources import digest_of_model


def same_weights(left: MTPModel, right: MTPModel) -> bool:
    a, b = left.state_dict(), right.state_dict()
    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)


def keys_in(file) -> set[str]:
    return set(shapes_in(file))


def shapes_in(file) -> dict[str, list[int]]:
    with safe_open(file, framework="pt") as tensors:
        return {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118


@pytest.fixture
def saved(make_lm, tmp_path, trained):
    """A llama with four heads and a value head, and the directory it was saved in."""
    model = trained(MTPModel(make_lm("llama"), n_future=4, value_head=True))
    model.save_pretrained(tmp_path / "model")
    return model, tmp_path / "model"


def test_loading_restores_every_weight_bitwise(any_lm, tmp_path, trained):
    model = trained(MTPModel(any_lm, n_future=3, value_head=True))
    model.save_pretrained(tmp_path)
    assert same_weights(MTPModel.from_pretrained(tmp_path), model)


def test_a_saved_directory_loads_as_a_plain_model_with_the_same_logits(any_lm, batch, tmp_path, trained):
    trained(MTPModel(any_lm, n_future=3, value_head=True)).save_pretrained(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(plain(**batch, use_cache=False).logits, any_lm(**batch, use_cache=False).logits)


def test_the_plain_files_hold_what_the_plain_model_saves_and_nothing_else(any_lm, tmp_path, trained):
    any_lm.save_pretrained(tmp_path / "plain")
    trained(MTPModel(any_lm, n_future=3, value_head=True)).save_pretrained(tmp_path / "ours")
    assert shapes_in(tmp_path / "ours" / "model.safetensors") == shapes_in(tmp_path / "plain" / "model.safetensors")
    for name in ("config.json", "generation_config.json"):
        ours, plain = (json.loads((tmp_path / kind / name).read_text()) for kind in ("ours", "plain"))
        assert ours == plain


def test_the_plain_files_have_keys_and_shapes_of_the_state_dict(any_lm, tmp_path):
    """Tied embeddings once; files of two families have their releases' names, which transformers renames on load."""
    MTPModel(any_lm, n_future=3, value_head=True).save_pretrained(tmp_path)
    wanted = {name: [*tensor.shape] for name, tensor in any_lm.state_dict().items()}
    for name in any_lm.all_tied_weights_keys:
        del wanted[name]
    renamed = any_lm.config.model_type in ("gpt_neox", "qwen3_moe")
    assert (shapes_in(tmp_path / "model.safetensors") != wanted) == renamed


def test_transformers_reports_nothing_missing_and_nothing_unexpected(any_lm, tmp_path, trained):
    trained(MTPModel(any_lm, n_future=3, value_head=True)).save_pretrained(tmp_path)
    _, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report


def test_the_index_leaves_out_our_file_since_servers_read_every_other_one(saved):
    """As vLLM and SGLang choose files: every *.safetensors, but for those that an index does not name."""
    _, directory = saved
    named = json.loads((directory / "model.safetensors.index.json").read_text())["weight_map"]
    assert {*named.values()} == {"model.safetensors"}
    assert named.keys() == keys_in(directory / "model.safetensors")


def test_extra_heads_and_value_head_lie_in_a_file_beside_the_plain_model(saved):
    _, directory = saved
    keys = keys_in(directory / "weighted_mtp.safetensors")
    assert {key for key in keys if not key.startswith("extra_heads.")} == {"value_head.weight", "value_head.bias"}
    assert {k.split(".")[1] for k in keys if k.startswith("extra_heads.")} == {"0", "1", "2"}


def test_a_file_beside_the_plain_model_records_the_heads(saved):
    settings = {"heads": "parallel", "n_future": 4, "value_head": True, "value_link": "sigmoid"}
    assert json.loads((saved[1] / "weighted_mtp.json").read_text()) == settings


def test_a_model_without_heads_has_no_file_of_tensors(make_lm, tmp_path):
    MTPModel(make_lm("llama")).save_pretrained(tmp_path)
    written = {"config.json", "generation_config.json", "model.safetensors", "weighted_mtp.json"}
    assert {path.name for path in tmp_path.iterdir()} == written


def edit(file, **changes) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_future", "2"), ("n_future", 0), ("n_future", True), ("value_head", "yes"), ("heads", "serial")],
)
def test_a_setting_of_another_kind_is_one_error_that_names_it(saved, name, value):
    edit(saved[1] / "weighted_mtp.json", **{name: value})
    with pytest.raises(ValueError, match=f"this version cannot read weighted_mtp.json: {name} is {value!r}"):
        MTPModel.from_pretrained(saved[1])


def truncate(file) -> None:
    file.write_bytes(file.read_bytes()[:500])


def of_another_size(file) -> None:
    save_file({name: x[..., :3].contiguous() for name, x in load_file(file).items()}, file)


def of_another_model(file) -> None:
    save_file(load_file(file) | {"lm_head.weight": torch.zeros(2)}, file)


def unlink(file) -> None:
    file.unlink()


@pytest.mark.parametrize(
    ("name", "fault", "said"),
    [
        ("weighted_mtp.safetensors", truncate, "weighted_mtp.safetensors cannot be read: SafetensorError"),
        ("weighted_mtp.safetensors", of_another_size, "weight' is 32 x 3, and config.json makes it 32 x 32"),
        ("weighted_mtp.safetensors", of_another_model, "of another model: 'lm_head.weight' is not among"),
        ("weighted_mtp.safetensors", unlink, "incomplete: it lacks 29 weights, 'extra_heads.0"),
        ("weighted_mtp.json", unlink, "holds weighted_mtp.safetensors without weighted_mtp.json: copy both"),
        ("weighted_mtp.json", lambda file: file.write_text('{"n_fu'), "cannot read weighted_mtp.json: Unterminated"),
        ("weighted_mtp.json", lambda file: file.write_text("[4]"), "cannot read weighted_mtp.json: .* must be a map"),
        ("weighted_mtp.json", lambda file: edit(file, n_future=5), "it lacks 9 weights, 'extra_heads.3"),
        ("weighted_mtp.json", lambda file: edit(file, n_future=3), "of another model: 'extra_heads.2.*' is not among"),
    ],
)
def test_files_of_ours_that_do_not_fit_are_one_error(saved, name, fault, said):
    fault(saved[1] / name)
    with pytest.raises(ValueError, match=said) as raised:
        MTPModel.from_pretrained(saved[1])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("size", [None, "20KB"])
def test_a_directory_of_the_former_layout_is_read_with_a_line_that_says_how_to_convert_it(
    saved, tmp_path, size, caplog
):
    model, _ = saved
    model.save_pretrained(tmp_path / "old", max_shard_size=size)
    as_before(tmp_path / "old")
    before = digest_of_model(tmp_path / "old")
    assert same_weights(MTPModel.from_pretrained(tmp_path / "old"), model)
    (record,) = caplog.records
    assert record.getMessage().endswith(f"wmtp convert export {tmp_path / 'old'} --out NEW")
    edit(tmp_path / "old" / "config.json", weighted_mtp={"n_future": 4})
    assert digest_of_model(tmp_path / "old") != before


def test_a_directory_of_the_former_layout_is_saved_in_the_new_one(saved, tmp_path):
    model, directory = saved
    as_before(directory)
    MTPModel.from_pretrained(directory).save_pretrained(directory)
    assert "weighted_mtp" not in json.loads((directory / "config.json").read_text())
    assert not any(key.startswith(("extra", "value")) for key in keys_in(directory / "model.safetensors"))
    assert same_weights(MTPModel.from_pretrained(directory), model)


def test_a_heads_entry_that_lacks_weights_in_the_former_layout_is_an_error(saved):
    as_before(saved[1])
    edit(saved[1] / "config.json", weighted_mtp={"n_future": 5, "value_head": True, "value_link": "sigmoid"})
    with pytest.raises(ValueError, match=r"incomplete: it lacks 9 weights, 'extra_heads.3"):
        MTPModel.from_pretrained(saved[1])


@pytest.mark.parametrize("with_heads", [True, False])
def test_heads_of_a_model_in_the_cache_of_downloads_are_read(saved, tmp_path, monkeypatch, with_heads):
    model, directory = saved
    commit = "0" * 40
    shutil.copytree(directory, tmp_path / "models--me--m" / "snapshots" / commit)
    (tmp_path / "models--me--m" / "refs").mkdir()
    (tmp_path / "models--me--m" / "refs" / "main").write_text(commit)
    if not with_heads:
        for file in (tmp_path / "models--me--m" / "snapshots" / commit).glob("weighted_mtp.*"):
            file.unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    loaded = MTPModel.from_pretrained("hub:me/m")
    assert same_weights(loaded, model if with_heads else MTPModel(model.hf_model))


@pytest.mark.parametrize("name", ["weighted_mtp.json", "weighted_mtp.safetensors"])
def test_the_digest_of_a_model_covers_our_files(saved, name):
    before = digest_of_model(saved[1])
    (saved[1] / name).write_bytes((saved[1] / name).read_bytes() + b" ")
    assert digest_of_model(saved[1]) != before


@pytest.mark.parametrize("link", ["sigmoid", "identity"])
def test_the_value_link_comes_back(make_lm, batch, tmp_path, link, trained):
    model = trained(MTPModel(make_lm("llama"), value_head=True, value_link=link))
    model.save_pretrained(tmp_path)
    assert torch.equal(MTPModel.from_pretrained(tmp_path)(**batch)["values"], model(**batch)["values"])


def test_a_link_that_contradicts_the_saved_one_is_refused(saved):
    with pytest.raises(ValueError, match="trained with value_link 'sigmoid', got 'identity'"):
        MTPModel.from_pretrained(saved[1], value_link="identity")


@pytest.fixture
def saved_with_hidden_layer(make_lm, tmp_path, trained):
    """A llama whose value head has a hidden layer of 8 units, and the directory it was saved in."""
    model = trained(MTPModel(make_lm("llama"), value_head=True, value_hidden=8))
    model.save_pretrained(tmp_path / "hidden")
    return model, tmp_path / "hidden"


@pytest.mark.parametrize("asked", [None, 8])
def test_a_hidden_layer_of_the_value_head_comes_back_bitwise(saved_with_hidden_layer, batch, asked):
    model, directory = saved_with_hidden_layer
    loaded = MTPModel.from_pretrained(directory, value_hidden=asked)
    assert same_weights(loaded, model)
    assert torch.equal(loaded(**batch)["values"], model(**batch)["values"])


def test_a_hidden_layer_is_recorded(saved_with_hidden_layer):
    settings = json.loads((saved_with_hidden_layer[1] / "weighted_mtp.json").read_text())
    assert settings["value_hidden"] == 8


def test_a_plain_model_loads_beside_a_hidden_layer(saved_with_hidden_layer, batch):
    model, directory = saved_with_hidden_layer
    plain = AutoModelForCausalLM.from_pretrained(directory)
    assert torch.equal(plain(**batch, use_cache=False).logits, model.hf_model(**batch, use_cache=False).logits)


@pytest.mark.parametrize("asked", [0, 16])
def test_another_width_than_the_saved_one_is_refused(saved_with_hidden_layer, asked):
    with pytest.raises(ValueError, match=f"trained with value_hidden 8, got {asked}: leave it out"):
        MTPModel.from_pretrained(saved_with_hidden_layer[1], value_hidden=asked)


def test_a_hidden_layer_is_not_put_before_a_saved_linear_head(saved):
    with pytest.raises(ValueError, match="trained with value_hidden 0, got 8"):
        MTPModel.from_pretrained(saved[1], value_hidden=8)


def test_a_linear_head_keeps_its_two_weights(saved):
    keys = keys_in(saved[1] / "weighted_mtp.safetensors")
    assert {key for key in keys if key.startswith("value_head.")} == {"value_head.weight", "value_head.bias"}


def test_a_prior_is_linear_whatever_value_head_was_saved(saved_with_hidden_layer):
    """Another kind of critic takes over neither the head nor its width, one way or the other."""
    directory = saved_with_hidden_layer[1]
    prior = MTPModel.from_pretrained(directory, critic=CriticSpec("generative"))
    assert set(prior.value_head.state_dict()) == {"weight", "bias"}
    assert not prior.value_head.weight.any()
    prior.save_pretrained(directory)
    with pytest.warns(UserWarning, match="holds a generative critic, taken as a plain model"):
        back = MTPModel.from_pretrained(directory, critic=False, value_hidden=16)
    assert back.value_head.hidden.weight.shape == (16, 32)


def test_a_plain_directory_gets_fresh_heads(make_lm, tmp_path):
    make_lm("llama").save_pretrained(tmp_path)
    model = MTPModel.from_pretrained(tmp_path, n_future=3, value_head=True)
    last = model.hf_model.model.layers[-1].state_dict()
    assert all(torch.equal(t, last[k]) for head in model.extra_heads for k, t in head.state_dict().items())
    assert not model.value_head.weight.any()


def test_more_heads_than_saved_are_copies_of_the_last_layer(saved):
    model, directory = saved
    loaded = MTPModel.from_pretrained(directory, n_future=5)
    kept = loaded.extra_heads[2].self_attn.q_proj.weight
    new = loaded.extra_heads[3].self_attn.q_proj.weight
    assert torch.equal(kept, model.extra_heads[2].self_attn.q_proj.weight)
    assert torch.equal(new, model.hf_model.model.layers[-1].self_attn.q_proj.weight)


def test_fewer_heads_than_saved_are_the_first_ones_with_a_warning(saved):
    model, directory = saved
    with pytest.warns(UserWarning, match="holds 4 heads; kept 2"):
        loaded = MTPModel.from_pretrained(directory, n_future=2)
    assert torch.equal(loaded.extra_heads[0].self_attn.q_proj.weight, model.extra_heads[0].self_attn.q_proj.weight)


def test_dropping_a_saved_value_head_warns(saved):
    with pytest.warns(UserWarning, match="holds a value head, which was dropped"):
        assert MTPModel.from_pretrained(saved[1], value_head=False).value_head is None


def test_loading_our_directory_reports_no_unexpected_weights(saved):
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    try:
        MTPModel.from_pretrained(saved[1])
    finally:
        logger.removeHandler(handler)
    assert records == []


@pytest.mark.parametrize(("dtype", "expected"), [("auto", "float32"), ("bfloat16", "bfloat16"), ("float64", "float64")])
def test_the_asked_dtype_holds_for_all_but_the_value_head(saved, dtype, expected):
    model = MTPModel.from_pretrained(saved[1], dtype=dtype)
    kinds = {p.dtype for n, p in model.named_parameters() if not n.startswith("value_head.")}
    assert kinds == {getattr(torch, expected)}
    assert model.value_head.weight.dtype == torch.float32


def test_a_half_precision_model_comes_back_bitwise(make_lm, tmp_path, trained):
    model = trained(MTPModel(make_lm("llama").to(torch.bfloat16), n_future=2, value_head=True))
    model.save_pretrained(tmp_path)
    assert same_weights(MTPModel.from_pretrained(tmp_path), model)


def test_tied_embeddings_are_stored_once_and_come_back_tied(make_lm, tmp_path, trained):
    model = trained(MTPModel(make_lm("llama", tie_word_embeddings=True), n_future=2))
    model.save_pretrained(tmp_path)
    assert "lm_head.weight" not in keys_in(tmp_path / "model.safetensors")
    loaded = MTPModel.from_pretrained(tmp_path)
    assert loaded.output_head()["lm_head_weight"] is loaded.hf_model.get_input_embeddings().weight


def test_a_given_state_dict_is_what_is_saved(make_lm, tmp_path, trained):
    model = trained(MTPModel(make_lm("llama", tie_word_embeddings=True), n_future=2, value_head=True))
    other = {name: torch.full_like(tensor, 0.5) for name, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path, state_dict=other)
    loaded = MTPModel.from_pretrained(tmp_path)
    assert all(torch.equal(tensor, other[name]) for name, tensor in loaded.state_dict().items())


def test_saving_over_an_older_directory_leaves_nothing_of_it(saved, make_lm):
    _, directory = saved
    MTPModel(make_lm("llama")).save_pretrained(directory)
    assert not (directory / "weighted_mtp.safetensors").exists()
    assert MTPModel.from_pretrained(directory).n_future == 1


def test_a_loaded_directory_can_be_saved_and_loaded_again(saved, tmp_path):
    model, directory = saved
    MTPModel.from_pretrained(directory).save_pretrained(tmp_path / "again")
    assert same_weights(MTPModel.from_pretrained(tmp_path / "again"), model)


def test_a_model_in_several_files_keeps_ours_in_one_more_that_its_index_leaves_out(saved, batch, tmp_path):
    model, _ = saved
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert {*index["weight_map"].values()} == {path.name for path in tmp_path.glob("model-*.safetensors")}
    assert same_weights(MTPModel.from_pretrained(tmp_path), model)
    plain, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert torch.equal(plain(**batch).logits, model.hf_model(**batch).logits)


def test_load_weights_restores_a_model_in_place(saved):
    model, directory = saved
    weight = model.value_head.weight
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    model.load_weights(directory)
    assert weight is model.value_head.weight
    assert same_weights(model, MTPModel.from_pretrained(directory))


def test_a_truncated_file_is_one_clear_error(saved):
    file = saved[1] / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"cannot read the model at .*/model: "):
        MTPModel.from_pretrained(saved[1])


def test_a_directory_without_weights_is_one_clear_error(saved):
    (saved[1] / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"cannot read the model at .*No such file.*model.safetensors"):
        MTPModel.from_pretrained(saved[1])


def test_missing_layers_are_an_error_and_not_made_up(saved):
    edit(saved[1] / "config.json", num_hidden_layers=4)
    with pytest.raises(ValueError, match=r"incomplete: it lacks 9 weights, 'model.layers.3"):
        MTPModel.from_pretrained(saved[1])


def test_weights_of_another_shape_are_an_error(saved):
    edit(saved[1] / "config.json", intermediate_size=48)
    with pytest.raises(ValueError, match=r"'model.layers.0.mlp.down_proj.weight' has not the shape"):
        MTPModel.from_pretrained(saved[1])


def test_an_unknown_dtype_is_an_error(saved):
    with pytest.raises(ValueError, match=r"dtype must be auto, .* got 'float31'"):
        MTPModel.from_pretrained(saved[1], dtype="float31")


def test_an_encoder_decoder_directory_is_refused(tmp_path):
    sizes = {"d_model": 32, "num_layers": 1, "num_heads": 2, "d_ff": 32, "d_kv": 16}
    T5ForConditionalGeneration(T5Config(vocab_size=40, **sizes)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"'t5' cannot carry .* it is an encoder-decoder"):
        MTPModel.from_pretrained(tmp_path)


def test_an_encoder_directory_is_refused(tmp_path):
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=40, **sizes)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="'bert' cannot carry"):
        MTPModel.from_pretrained(tmp_path)


def shards(model, directory) -> None:
    model.hf_model.save_pretrained(directory, max_shard_size="20KB")


def old_pickle(model, directory) -> None:
    torch.save(model.hf_model.state_dict(), directory / "pytorch_model.bin")
    (directory / "pytorch_model.bin.index.json").write_text('{"weight_map": {"a": "pytorch_model-1-of-2.bin"}}')


def a_stale_index(model, directory) -> None:
    (directory / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-9-of-9.safetensors"}}')


def heads_and_adapters(model, directory) -> None:
    other = MTPModel(model.hf_model, n_future=3, value_head=True)
    other.save_pretrained(directory)
    (directory / "adapter").mkdir()
    (directory / "adapter" / "adapter_model.safetensors").write_bytes(b"old")


@pytest.mark.parametrize("earlier", [shards, old_pickle, a_stale_index, heads_and_adapters])
@pytest.mark.parametrize("sharded", [False, True])
def test_what_a_save_writes_is_all_that_is_read(make_lm, trained, batch, tmp_path, earlier, sharded):
    earlier(MTPModel(make_lm("llama", hidden_size=24, head_dim=8)), tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    model = trained(MTPModel(make_lm("llama"), n_future=2))
    model.save_pretrained(tmp_path, max_shard_size="20KB" if sharded else None)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(plain(**batch).logits, model.hf_model(**batch).logits)
    assert same_weights(MTPModel.from_pretrained(tmp_path), model)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    written = {path.name for path in tmp_path.glob("*") if path.name.startswith((".", "adapter", "pytorch"))}
    assert written == set()


def test_an_index_beside_a_single_file_is_passed_over_as_transformers_does(saved):
    model, directory = saved
    a_stale_index(model, directory)
    assert same_weights(MTPModel.from_pretrained(directory), model)


def test_an_index_that_names_files_which_are_not_there_is_one_error(saved):
    model, directory = saved
    a_stale_index(model, directory)
    (directory / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="cannot read the model"):
        MTPModel.from_pretrained(directory)


def test_a_save_that_fails_leaves_what_was_there(saved):
    model, directory = saved
    failing = MTPModel.from_pretrained(directory)

    def no_space(*args, **kwargs):
        raise OSError(28, "No space left on device")

    failing.hf_model.save_pretrained = no_space
    with pytest.raises(OSError, match="No space left"):
        failing.save_pretrained(directory)
    assert same_weights(MTPModel.from_pretrained(directory), model)
