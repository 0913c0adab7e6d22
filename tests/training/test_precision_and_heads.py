"""bfloat16, gradient checkpointing and four heads: real runs that stay finite, equal and loadable."""

import math
import warnings

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from weighted_mtp.models import MTPModel


@pytest.mark.parametrize("stage", ["baseline", "critic", "verifiable"])
def test_bf16_autocast_trains_float32_parameters_to_finite_numbers(prepare, rows, stage):
    n_future = 1 if stage == "critic" else 2
    run = prepare(stage, bf16=True, n_future=n_future, eval_file=str(rows["eval"]))
    run.fit()
    assert {p.dtype for p in run.inputs.model.parameters()} == {torch.float32}
    for entry in run.trainer.state.log_history:
        assert all(math.isfinite(value) for value in entry.values())


def test_bf16_autocast_gives_about_the_loss_of_float32(train):
    half, full = (train(bf16=bf16, max_steps=1, logging_steps=1).state.log_history[0] for bf16 in (True, False))
    assert half["loss"] == pytest.approx(full["loss"], rel=0.02)
    assert half["loss"] != full["loss"]


class Matmuls(TorchDispatchMode):
    """Precisions of the matmuls with the unembedding, which alone has the vocabulary's length."""

    def __init__(self, vocab):
        super().__init__()
        self.vocab, self.dtypes = vocab, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [x for x in args if isinstance(x, torch.Tensor)]
        if func.overloadpacket.__name__ in ("mm", "addmm_") and any(self.vocab in x.shape for x in tensors):
            self.dtypes |= {x.dtype for x in tensors}
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("stage", ["baseline", "rho1"])
def test_under_bf16_autocast_the_unembedding_multiplies_in_bf16(prepare, chain_base, stage):
    reference = str(chain_base / "base") if stage == "rho1" else None
    run = prepare(stage, bf16=True, n_future=2, reference=reference, max_steps=1)
    watch = Matmuls(run.inputs.model.output_head()["lm_head_weight"].shape[0])
    step = run.trainer.training_step

    def watched(*args, **kwargs):
        with watch:
            return step(*args, **kwargs)

    run.trainer.training_step = watched
    run.fit()
    assert watch.dtypes == {torch.bfloat16}


def test_bf16_parameters_train_to_finite_numbers(prepare):
    run = prepare("verifiable", dtype="bfloat16", n_future=2)
    run.fit()
    assert run.inputs.model.dtype == torch.bfloat16
    assert all(bool(torch.isfinite(p).all()) for p in run.inputs.model.parameters())


def test_gradient_checkpointing_changes_nothing(train):
    kept, recomputed = (
        train("verifiable", n_future=2, optim="sgd", learning_rate=0.3, gradient_checkpointing=flag).model
        for flag in (False, True)
    )
    assert recomputed.is_activation_checkpointing
    for (name, p), q in zip(kept.named_parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(q, p, rtol=0, atol=1e-7, msg=name)


@pytest.fixture(scope="module")
def four_heads(train):
    return train("verifiable", n_future=4, head_warmup_steps=2)


def test_four_heads_are_trained(four_heads, chain_base):
    start = MTPModel.from_pretrained(chain_base / "base", n_future=4)
    before = dict(start.named_parameters())
    for name, p in four_heads.model.named_parameters():
        if name.startswith("extra_heads") and name.endswith("weight"):
            assert not torch.equal(p, before[name]), name


def test_four_heads_are_logged_one_by_one(four_heads):
    last = [entry for entry in four_heads.state.log_history if "loss" in entry][-1]
    assert all(last[f"ce_head_{k}"] > 0 for k in range(4))


def test_four_heads_and_the_value_head_come_back_from_the_directory(four_heads):
    loaded = MTPModel.from_pretrained(four_heads.args.output_dir)
    assert loaded.n_future == 4
    trained = four_heads.model.state_dict()
    assert all(torch.equal(trained[name], tensor) for name, tensor in loaded.state_dict().items())
    assert loaded.state_dict().keys() == trained.keys()


def test_a_run_with_four_heads_goes_on_from_its_own_directory(four_heads, prepare):
    run = prepare("verifiable", model_name_or_path=four_heads.args.output_dir, n_future=4)
    assert run.fit().state.global_step == 4


def test_plain_transformers_reads_the_four_headed_directory(four_heads):
    from transformers import AutoModelForCausalLM

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = AutoModelForCausalLM.from_pretrained(four_heads.args.output_dir)
    ids = torch.tensor([[7, 11, 22]])
    with torch.no_grad():
        given = plain(ids).logits
        ours = four_heads.model.eval().full_forward(ids)["logits"][:, :, 0]
    torch.testing.assert_close(given, ours)
