"""Bad input: one line that says what is wrong, exit status 2, and nothing left behind."""

import json
import os
import pickle
import subprocess
import sys
import time
import warnings

import pytest
import torch

from tests.models.meta.meta_format import made, params, state, write
from weighted_mtp.cli.main import main
from weighted_mtp.models import MTPModel
from weighted_mtp.models.meta.convert import from_meta
from weighted_mtp.models.meta.read import MetaFiles


def refused(folder, out, capsys) -> str:
    """The line that `wmtp convert meta` ends with."""
    before = sorted(path.name for path in out.parent.iterdir())
    assert main(["convert", "meta", str(folder), "--out", str(out)]) == 2
    assert sorted(path.name for path in out.parent.iterdir()) == before
    said = capsys.readouterr().err
    assert said.startswith("wmtp: error: ")
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_heads": 5}, "dim 32 is no multiple of n_heads 5"),
        ({"n_heads": 32}, "dim 32 / n_heads 32 is odd"),
        ({"n_kv_heads": 3}, "n_heads 4 is no multiple of n_kv_heads 3"),
        ({"n_layers": 3}, "n_future_tokens is 4, but n_layers, which counts them, 3"),
        ({"n_layers": 10**12}, "holds 48 tensors, and params.json has n_layers 1000000000000"),
        ({"n_heads": 0}, "n_heads is 0: a whole number from 1 on"),
        ({"dim": "32"}, "dim is '32': a whole number"),
        ({"norm_eps": -1}, "norm_eps is -1: a number above 0"),
        ({"multiple_of": 0}, "multiple_of is 0"),
        ({"ffn_dim_multiplier": "x"}, "params.json: ffn_dim_multiplier is 'x': a number above 0"),
        ({"ffn_dim_multiplier": -1.3}, "params.json: ffn_dim_multiplier is -1.3: a number above 0"),
        ({"rope_theta": 10**400}, "rope_theta is 1000000"),
        ({"dim": None}, "params.json: it lacks dim"),
        ({"vocab_size": 50}, "output.weight makes 51 rows, and params.json has vocab_size 50"),
        ({"dim": 64}, "tok_embeddings.weight is 51 x 32, and params.json makes it 51 x 64"),
        ({"n_kv_heads": 2}, "layers.0.attention.wk.weight is 32 x 32, and params.json makes it 16 x 32"),
        ({"use_scaled_rope": True}, "use_scaled_rope stretches the positions"),
    ],
)
def test_wrong_params_are_told(tmp_path, capsys, changed, message):
    folder = made(tmp_path / "meta")
    (folder / "params.json").write_text(json.dumps(params(**changed)))
    assert message in refused(folder, tmp_path / "out", capsys)


@pytest.mark.parametrize(
    "text", ["{", "[]", "\x00", '{"dim": 4}', '{"dim": NaN, "n_layers": 1, "n_heads": 1}', "[" * 99_999]
)
def test_a_broken_params_file_is_told(tmp_path, capsys, text):
    folder = made(tmp_path / "meta")
    (folder / "params.json").write_text(text)
    assert "params.json: " in refused(folder, tmp_path / "out", capsys)


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, -1])
def test_a_file_that_was_cut_off_is_told(tmp_path, capsys, kept):
    folder = made(tmp_path / "meta")
    file = folder / "consolidated.pth"
    os.truncate(file, int(file.stat().st_size * kept) if isinstance(kept, float) else kept % file.stat().st_size)
    said = refused(folder, tmp_path / "out", capsys)
    assert "consolidated.pth cannot be read: it is cut off, or torch.save (1.6 or later) did not write it" in said


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil-was-here",)


def test_code_in_a_pickle_is_not_run(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = made(tmp_path / "meta")
    torch.save({**state(params()), "more": Evil()}, folder / "consolidated.pth")
    assert "consolidated.pth holds more than tensors: code" in refused(folder, tmp_path / "out", capsys)
    (folder / "consolidated.pth").write_bytes(pickle.dumps(Evil()))
    assert "consolidated.pth cannot be read: " in refused(folder, tmp_path / "out", capsys)
    assert not (tmp_path / "evil-was-here").exists()


def test_tensors_that_are_views_parameters_or_shared_are_read(tmp_path):
    weights = state(params())
    odd = dict(weights)
    odd["layers.0.attention.wq.weight"] = weights["layers.0.attention.wq.weight"].T.contiguous().T
    odd["layers.0.attention.wo.weight"] = torch.stack([weights["layers.0.attention.wo.weight"]] * 3)[1]
    odd["layers.1.ffn_norm.weight"] = torch.ones(1).expand(32)
    odd["layers.0.ffn_norm.weight"] = (
        torch.complex(torch.zeros(32), -torch.ones(32)).conj().imag
    )  # a bit says: negative
    odd["norm.weight"] = torch.nn.Parameter(weights["norm.weight"])
    odd["output.weight"] = odd["tok_embeddings.weight"]
    plain = {**weights, "output.weight": weights["tok_embeddings.weight"]}
    plain |= {f"layers.{i}.ffn_norm.weight": torch.ones(32) for i in range(2)}
    for name, content in {"odd": odd, "plain": plain}.items():
        from_meta(write(tmp_path / name, params(), content), tmp_path / f"{name}-out")
    for file in (tmp_path / "odd-out").iterdir():
        assert file.read_bytes() == (tmp_path / "plain-out" / file.name).read_bytes()


@pytest.mark.parametrize(
    ("content", "held"),
    [
        ({"model": {}}, "model"),
        ({"step": 3}, "step"),
        ([torch.ones(3)], "list"),
        ({"norm.weight": torch.eye(3).to_sparse()}, "norm.weight"),
        ({"norm.weight": torch.ones(32, device="meta")}, "norm.weight"),
    ],
)
def test_something_else_than_tensors_is_told(tmp_path, capsys, content, held):
    folder = made(tmp_path / "meta")
    torch.save({**state(params()), **content} if isinstance(content, dict) else content, folder / "consolidated.pth")
    said = refused(folder, tmp_path / "out", capsys)
    assert f"is no dictionary of plain tensors, as Meta's are: it holds {held}" in said


def test_missing_and_unknown_names_are_listed(tmp_path, capsys):
    weights = state(params())
    del weights["norm.weight"], weights["extra_heads.2.attention.wq.weight"]
    weights |= {"layers.0.attention.bias": torch.zeros(3), "rope.freqs": torch.zeros(4)}
    said = refused(write(tmp_path / "meta", params(), weights), tmp_path / "out", capsys)
    assert "it lacks extra_heads.2.attention.wq.weight, norm.weight; unknown are layers.0.attention.bias" in said
    assert "rope.freqs" not in said


def test_params_of_another_number_of_heads_are_told_by_the_names(tmp_path, capsys):
    said = refused(write(tmp_path / "meta", params(n_future_tokens=2), state(params())), tmp_path / "out", capsys)
    assert "params.json (n_layers 5, n_future_tokens 2): it lacks layers.2.* (9), layers.3.* (9); unknown are" in said
    assert "unknown are extra_heads.1.* (9), extra_heads.2.* (9)" in said


def test_quantized_weights_are_refused(tmp_path, capsys):
    weights = state(params())
    weights["layers.0.attention.wq.weight"] = torch.zeros(32, 32, dtype=torch.int8)
    said = refused(write(tmp_path / "meta", params(), weights), tmp_path / "out", capsys)
    assert "layers.0.attention.wq.weight is int8: quantized weights are not converted" in said


@pytest.mark.parametrize("dtype", [torch.int8, torch.float64])
def test_files_of_other_precisions_are_refused(tmp_path, capsys, dtype):
    p = params(vocab_size=52)
    folder = write(tmp_path / "meta", p, state(p), files=2)
    part = torch.load(folder / "consolidated.01.pth")
    part["layers.0.attention.wq.weight"] = part["layers.0.attention.wq.weight"].to(dtype)
    torch.save(part, folder / "consolidated.01.pth")
    kind = str(dtype).removeprefix("torch.")
    wanted = f"consolidated.01.pth: layers.0.attention.wq.weight is {kind}"
    assert wanted in refused(folder, tmp_path / "out", capsys)


def test_files_that_differ_in_what_each_holds_whole_are_told(tmp_path):
    p = params(vocab_size=52)
    folder = write(tmp_path / "meta", p, state(p), files=2)
    assert MetaFiles(folder).notes == []
    part = torch.load(folder / "consolidated.01.pth")
    torch.save(part | {"norm.weight": part["norm.weight"] + 1}, folder / "consolidated.01.pth")
    assert MetaFiles(folder).notes == [
        "the files differ in norm.weight, which each should hold alike: are they of one model? The first file's count"
    ]


def test_a_program_of_torch_is_told_without_advice_to_run_it(tmp_path, capsys):
    folder = made(tmp_path / "meta")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about its past
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(folder / "consolidated.pth"))
        said = refused(folder, tmp_path / "out", capsys)
    assert said.endswith("consolidated.pth is a TorchScript program, and no dictionary of tensors\n")


@pytest.mark.parametrize("gone", ["consolidated.00.pth", "consolidated.01.pth", "consolidated.03.pth", "params.json"])
def test_a_missing_file_is_told(tmp_path, capsys, gone):
    p = params(vocab_size=52)
    folder = write(tmp_path / "meta", p, state(p), files=4)
    (folder / gone).unlink()
    said = refused(folder, tmp_path / "out", capsys)
    wanted = (
        "output.weight makes 39 rows, and params.json has vocab_size 52"
        if gone == "consolidated.03.pth"
        else "needed are params.json and cons"
    )
    assert wanted in said


@pytest.mark.parametrize("place", ["nowhere", "meta/params.json", "."])
def test_a_place_without_a_checkpoint_is_told(tmp_path, capsys, place):
    made(tmp_path / "meta")
    assert "no model in Meta's format at" in refused(tmp_path / place, tmp_path / "out", capsys)


def test_a_llama_without_extra_heads_converts_and_says_so(tmp_path, capsys):
    p = {name: value for name, value in params().items() if name != "n_future_tokens"}
    folder = write(tmp_path / "meta", p, state(p) | {"rope.freqs": torch.zeros(4)})
    assert main(["convert", "meta", str(folder), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "a plain Llama without extra heads (n_future 1)" in said
    assert "has no tokenizer.model, nor has the folder above it: no tokenizer is written" in said
    assert MTPModel.from_pretrained(tmp_path / "out").n_future == 1


def test_what_the_tensors_say_against_params_is_told(tmp_path):
    folder = write(tmp_path / "meta", params(moe=1), state(params(), ffn=37))
    assert MetaFiles(folder).notes == [
        "params.json also names moe, which nothing here reads",
        "the feed-forward layers have 37 units, where multiple_of and ffn_dim_multiplier of params.json give 88: the "
        "tensors count",
    ]


def test_from_pretrained_says_what_to_do_with_a_directory_of_metas(tmp_path):
    folder = made(tmp_path / "meta")
    with pytest.raises(
        ValueError,
        match=r"holds a model in Meta's format: convert it \(wmtp convert meta .*meta --out NEW\), then give NEW",
    ):
        MTPModel.from_pretrained(folder)


def test_so_does_training_before_torch_is_there(tmp_path):
    folder = made(tmp_path / "meta")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "1", "completion": "2", "label": true}\n')
    words = ["train", "baseline", "--model_name_or_path", str(folder), "--train_file", str(tmp_path / "rows.jsonl")]
    code = (
        "import sys; from weighted_mtp.cli.main import main\n"
        f"status = main({[*words, '--output_dir', str(tmp_path / 'run')]!r})\n"
        "assert 'torch' not in sys.modules; sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"(wmtp convert meta {folder} --out NEW)" in done.stderr


def test_help_needs_no_torch():
    code = (
        "import sys; from weighted_mtp.cli.main import main\n"
        "main(['convert', '--help'])\nassert not {'torch', 'transformers'} & {*sys.modules}"
    )
    start = time.process_time()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert time.process_time() - start < 5
    assert "to-meta" in done.stdout
