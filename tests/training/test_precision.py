"""Parameters that train are float32 whatever the checkpoint holds; what is frozen stays as stored."""

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from weighted_mtp.cli.main import main
from weighted_mtp.inspection.finished_run import open_run
from weighted_mtp.models import MTPModel, load_tokenizer
from weighted_mtp.training.critics.table import load_critic

HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@pytest.fixture(scope="session")
def half_bases(chain_base: Path, critic_dir: Path, tmp_path_factory) -> dict[str, dict[str, str]]:
    """The tiny base and the short critic, with their weights in half precision."""
    made: dict[str, dict[str, str]] = {}
    for name, dtype in HALVES.items():
        for role, source in (("base", chain_base / "base"), ("critic", critic_dir)):
            folder = tmp_path_factory.mktemp(f"{role}-{name}")
            MTPModel.from_pretrained(source).save_pretrained(folder, dtype=dtype)
            load_tokenizer(source).save_pretrained(folder)
            made.setdefault(name, {})[role] = str(folder)
    return made


STAGES = {
    "baseline": ("baseline", {"n_future": 2}),
    "value_head": ("critic", {}),
    "generative": ("critic", {"critic": "generative"}),
    "implicit": ("critic", {"critic": "implicit"}),
    "verifiable": ("verifiable", {"model_name_or_path": "critic"}),
    "separate_critic": ("verifiable", {"critic": "critic"}),
    "rho1": ("rho1", {"reference": "base"}),
}


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", STAGES)
def test_what_trains_is_float32_and_what_is_frozen_stays_as_stored(prepare, half_bases, name, half):
    stage, settings = STAGES[name]
    paths = half_bases[half]
    run = prepare(stage, **({"model_name_or_path": paths["base"]} | {k: paths.get(v, v) for k, v in settings.items()}))
    assert {p.dtype for p in run.inputs.model.parameters()} == {torch.float32}
    assert {model.dtype for model in run.inputs.stage.frozen_models()} <= {HALVES[half]}


def test_at_a_small_rate_almost_every_weight_of_a_half_checkpoint_moves(train, half_bases):
    base = half_bases["bfloat16"]["base"]
    trainer = train(model_name_or_path=base, learning_rate=2e-5, max_steps=3)
    loaded = MTPModel.from_pretrained(base).state_dict()
    moved = [(p != loaded[name].float()).flatten() for name, p in trainer.model.state_dict().items()]
    assert torch.cat(moved).float().mean() > 0.99


def test_half_precision_is_trained_where_it_is_named_with_a_warning(prepare, caplog):
    with caplog.at_level(logging.WARNING):
        run = prepare(dtype="bfloat16")
    assert {p.dtype for p in run.inputs.model.parameters()} == {torch.bfloat16}
    assert [r.getMessage() for r in caplog.records if "round away" in r.getMessage()]


def test_float16_parameters_are_refused_with_the_remedy(chain_base, tmp_path, capsys):
    words = ["--model_name_or_path", str(chain_base / "base"), "--train_file", str(chain_base / "train.jsonl")]
    assert main(["train", "baseline", *words, "--output_dir", str(tmp_path / "run"), "--dtype", "float16"]) == 2
    said = capsys.readouterr().err
    assert "bf16: true" in said
    assert "save_dtype: float16" in said
    assert not (tmp_path / "run").exists()


# Adapters


@pytest.mark.parametrize(
    ("stage", "settings"),
    [
        ("baseline", {"n_future": 2}),
        ("critic", {"critic": "generative"}),
        ("verifiable", {"model_name_or_path": "critic"}),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_adapters_and_new_parts_are_float32_beside_a_half_base(prepare, half_bases, stage, settings):
    paths = half_bases["bfloat16"]
    settings = {"model_name_or_path": paths["base"]} | {k: paths.get(v, v) for k, v in settings.items()}
    run = prepare(stage, lora_rank=2, learning_rate=1e-2, max_steps=2, **settings)
    model = run.inputs.model
    before = run.parameters()
    run.fit()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert {p.dtype for p in trained.values()} == {torch.float32}
    assert {p.dtype for p in model.extra_heads.parameters()} <= {torch.float32}
    assert model.dtype == torch.bfloat16
    states = [x for state in run.trainer.optimizer.state.values() for x in state.values() if x.dim()]
    assert {x.dtype for x in states} == {torch.float32}
    assert all(bool(torch.isfinite(p).all()) for p in trained.values())
    assert any(not torch.equal(p, before[name]) for name, p in trained.items())


def test_a_float16_base_under_adapters_is_float32(prepare, half_bases):
    model = prepare(lora_rank=2, model_name_or_path=half_bases["float16"]["base"]).inputs.model
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_a_frozen_trunk_stays_half_below_a_float32_value_head(prepare, half_bases):
    run = prepare("critic", freeze_trunk=True, model_name_or_path=half_bases["bfloat16"]["base"], max_steps=1)
    before = run.parameters()
    run.fit()
    after = run.parameters()
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved == {"value_head.weight", "value_head.bias"}
    assert run.inputs.model.dtype == torch.bfloat16


def test_heads_alone_train_beside_a_trunk_and_a_value_head_that_stay(prepare, half_bases, chain_base):
    for model in (half_bases["bfloat16"]["base"], str(chain_base / "critic")):
        run = prepare(freeze="trunk", n_future=3, model_name_or_path=model, max_steps=2)
        before = run.parameters()
        run.fit()
        after = run.parameters()
        moved = {name.split(".")[0] for name in after if not torch.equal(before[name], after[name])}
        assert moved == {"extra_heads"}
        assert run.inputs.model.dtype == (torch.bfloat16 if "bfloat16" in model else torch.float32)
    assert "value_head.weight" in after, "a stage that reads no values keeps it too"


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_a_run_from_a_half_checkpoint_resumes_to_the_bit(prepare, half_bases, lora_rank, tmp_path):
    settings = {
        "model_name_or_path": half_bases["bfloat16"]["base"],
        "lora_rank": lora_rank,
        "n_future": 2,
        "save_steps": 2,
        "save_dtype": "bfloat16",
        "output_dir": str(tmp_path / "run"),
    }
    whole = prepare(**settings)
    whole.fit()
    expected = whole.parameters()
    resumed = prepare(**settings)
    resumed.fit(tmp_path / "run" / "checkpoint-2")
    for name, p in resumed.parameters().items():
        assert torch.equal(p, expected[name]), name


# What is saved


@pytest.mark.parametrize("save_dtype", ["auto", "float32", "bfloat16", "float16"])
def test_the_final_model_has_the_precision_that_save_dtype_names_and_checkpoints_that_of_training(prepare, save_dtype):
    run = prepare("critic", critic="generative", save_dtype=save_dtype, save_steps=2, max_steps=2)
    run.fit()
    folder = Path(run.config.train.output_dir)
    wanted = torch.float32 if save_dtype == "auto" else getattr(torch, save_dtype)
    plain = AutoModelForCausalLM.from_pretrained(folder)
    assert {p.dtype for p in plain.parameters()} == {wanted}
    assert json.loads((folder / "config.json").read_text())["dtype"] == str(wanted).removeprefix("torch.")
    own = load_file(folder / "weighted_mtp.safetensors")
    assert own["value_head.weight"].dtype == own["label_condition.weight"].dtype == torch.float32
    assert MTPModel.from_pretrained(folder / "checkpoint-2").dtype == torch.float32
    for name, p in run.inputs.model.hf_model.state_dict().items():
        assert torch.equal(plain.state_dict()[name], p.to(wanted)), name
    assert load_critic(str(folder)).model.dtype == wanted  # score and evaluate read as stored
    assert open_run(folder).inputs.model.dtype == wanted


def test_merged_weights_are_rounded_once(prepare, half_bases):
    run = prepare(
        lora_rank=2, learning_rate=1e-2, model_name_or_path=half_bases["bfloat16"]["base"], save_dtype="float32"
    )
    run.fit()
    layer = run.inputs.model.hf_model.model.layers[0].mlp.up_proj
    exact = layer.base_layer.weight.float() + layer.get_delta_weight("default").float()
    saved = MTPModel.from_pretrained(run.config.train.output_dir).hf_model.model.layers[0].mlp.up_proj.weight
    torch.testing.assert_close(saved, exact, rtol=0, atol=1e-7)


def test_a_weight_beyond_the_range_of_float16_is_saved_as_it_was_trained(chain_base, tmp_path, caplog):
    model = MTPModel.from_pretrained(chain_base / "base")
    with torch.no_grad():
        model.hf_model.lm_head.weight[0, 0] = 1e5
    model.save_pretrained(tmp_path, dtype=torch.float16)
    assert "lm_head.weight" in caplog.text
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float32"
    assert MTPModel.from_pretrained(tmp_path).hf_model.lm_head.weight[0, 0] == 1e5


def test_a_checkpoint_of_another_precision_is_not_resumed(prepare, tmp_path):
    settings = {"save_steps": 2, "max_steps": 2, "output_dir": str(tmp_path / "run")}
    prepare(**settings, dtype="bfloat16").fit()
    with pytest.raises(ValueError, match="holds bfloat16 parameters, and this run trains float32"):
        prepare(**settings).fit(tmp_path / "run" / "checkpoint-2")
