"""Multi-token layers of a checkpoint, which transformers leaves out on load: kept, or no longer announced."""

import json
import logging
import shutil
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from tests.models.released import RELEASED, cut, plain_tensors, release
from weighted_mtp.models import MTPModel


def announced(folder) -> dict[str, int]:
    config = json.loads((folder / "config.json").read_text())
    return {
        name: value for name, value in config.items() if name in ("num_nextn_predict_layers", "mtp_num_hidden_layers")
    }


def same(tensors, layers) -> bool:
    return all(
        name in tensors and tensors[name].dtype == tensor.dtype and torch.equal(tensors[name], tensor)
        for name, tensor in layers.items()
    )


@pytest.fixture
def source(tmp_path):
    release(tmp_path / "source", "glm4_moe")
    return tmp_path / "source"


@pytest.mark.parametrize("family", RELEASED)
def test_multi_token_layers_are_in_what_is_saved_byte_for_byte(family, tmp_path):
    layers = release(tmp_path / "source", family)
    MTPModel.from_pretrained(tmp_path / "source", n_future=2, value_head=True).save_pretrained(tmp_path / "new")
    saved = plain_tensors(tmp_path / "new")
    assert same(saved, layers)
    assert saved.keys() == plain_tensors(tmp_path / "source").keys()
    assert [*announced(tmp_path / "new").values()] == [1]


@pytest.mark.parametrize("family", RELEASED)
def test_transformers_reads_the_plain_model_beside_them(family, tmp_path):
    release(tmp_path / "source", family)
    model = MTPModel.from_pretrained(tmp_path / "source")
    model.save_pretrained(tmp_path / "new")
    load: Any = AutoModelForCausalLM.from_pretrained
    plain, report = load(tmp_path / "new", output_loading_info=True)
    assert not [name for name in report.pop("unexpected_keys") if not name.startswith("model.layers.3.")]
    assert not any(report.values())
    assert all(torch.equal(tensor, model.hf_model.state_dict()[name]) for name, tensor in plain.state_dict().items())


@pytest.mark.parametrize("size", [None, "20KB"])
def test_several_files_in_or_out_change_nothing(size, tmp_path):
    layers = release(tmp_path / "source", "deepseek_v3", count=2)
    cut(tmp_path / "source", layers)
    MTPModel.from_pretrained(tmp_path / "source").save_pretrained(tmp_path / "new", max_shard_size=size)
    assert same(plain_tensors(tmp_path / "new"), layers)
    assert len(plain_tensors(tmp_path / "new")) == len(plain_tensors(tmp_path / "source"))


def test_a_saved_model_that_is_read_and_saved_again_keeps_them(source, tmp_path):
    MTPModel.from_pretrained(source, n_future=2).save_pretrained(tmp_path / "new")
    MTPModel.from_pretrained(tmp_path / "new").save_pretrained(tmp_path / "new")
    assert plain_tensors(tmp_path / "new").keys() == plain_tensors(source).keys()


def test_a_loaded_model_that_is_wrapped_keeps_them(source, tmp_path):
    MTPModel(AutoModelForCausalLM.from_pretrained(source)).save_pretrained(tmp_path / "new")
    assert plain_tensors(tmp_path / "new").keys() == plain_tensors(source).keys()


def test_another_precision_leaves_them_as_they_were(tmp_path):
    layers = release(tmp_path / "source", "glm4_moe")
    MTPModel.from_pretrained(tmp_path / "source").save_pretrained(tmp_path / "new", dtype=torch.float32)
    saved = plain_tensors(tmp_path / "new")
    assert same(saved, layers)
    assert saved["lm_head.weight"].dtype == torch.float32


def test_tensors_decide_and_not_what_the_config_announces(source, tmp_path):
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"num_nextn_predict_layers": 0}))
    MTPModel.from_pretrained(source).save_pretrained(tmp_path / "new")
    assert plain_tensors(tmp_path / "new").keys() == plain_tensors(source).keys()


def rewritten(folder, tensors) -> None:
    (folder / "model.safetensors").unlink()  # a loaded model reads the file that it came from
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def no_layers(model, source) -> None:
    rewritten(source, {n: t for n, t in plain_tensors(source).items() if not n.startswith("model.layers.3.")})


def no_source(model, source) -> None:
    shutil.rmtree(source)


def another_vocabulary(model, source) -> None:
    model.hf_model.resize_token_embeddings(130)


def quantized(model, source) -> None:
    tensors, name = plain_tensors(source), "model.layers.3.eh_proj.weight"
    rewritten(source, tensors | {name: tensors[name].to(torch.float8_e4m3fn)})


def cut_off(model, source) -> None:
    (source / "model.safetensors").unlink()
    (source / "model.safetensors").write_bytes(b"\1")


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (no_layers, "holds none"),
        (no_source, "there is no checkpoint at"),
        (another_vocabulary, "for a vocabulary of 120, and this model has 130"),
        (quantized, "quantized"),
        (cut_off, "JSONDecodeError"),
    ],
)
def test_where_they_cannot_be_kept_the_config_announces_none_and_one_line_says_why(
    source, tmp_path, caplog, fault, why
):
    model = MTPModel.from_pretrained(source)
    fault(model, source)
    with caplog.at_level(logging.WARNING, "weighted_mtp"):
        for _ in range(2):
            model.save_pretrained(tmp_path / "new")
    (line,) = (record.getMessage() for record in caplog.records if record.name.startswith("weighted_mtp"))
    assert why in line
    assert "num_nextn_predict_layers" in line
    assert announced(tmp_path / "new") == {"num_nextn_predict_layers": 0}
    assert not [name for name in plain_tensors(tmp_path / "new") if name.startswith("model.layers.3.")]
    MTPModel.from_pretrained(tmp_path / "new")


def test_layers_of_another_depth_are_not_taken_for_those_of_this_model(source, tmp_path):
    shallow = AutoModelForCausalLM.from_pretrained(source, num_hidden_layers=2)
    MTPModel(shallow).save_pretrained(tmp_path / "new")
    assert announced(tmp_path / "new") == {"num_nextn_predict_layers": 0}
    assert plain_tensors(tmp_path / "new").keys() == {
        n for n in plain_tensors(source) if ".layers.2." not in n and ".layers.3." not in n
    }


def test_plain_layers_beyond_the_last_are_no_multi_token_layers(make_lm, tmp_path, caplog):
    make_lm("llama").save_pretrained(tmp_path / "deep")
    MTPModel(AutoModelForCausalLM.from_pretrained(tmp_path / "deep", num_hidden_layers=2)).save_pretrained(
        tmp_path / "new"
    )
    assert not [name for name in plain_tensors(tmp_path / "new") if ".layers.2." in name]
    assert not [record for record in caplog.records if record.name.startswith("weighted_mtp")]


def test_a_gguf_file_does_not_take_them_from_another_model_beside_it(source, tmp_path):
    from weighted_mtp.models.native_layers import carry_over

    model = AutoModelForCausalLM.from_pretrained(source)
    model.config.name_or_path = str(source / "model.gguf")
    model.save_pretrained(tmp_path / "new")
    carry_over(model, tmp_path / "new")
    assert announced(tmp_path / "new") == {"num_nextn_predict_layers": 0}
