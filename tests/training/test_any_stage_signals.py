"""Losses per prediction are signals of every stage, made only for a scheme that asks for them."""

import re
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from weighted_mtp.cli.main import main
from weighted_mtp.losses import mtp_nll
from weighted_mtp.training.batch import TokenBatch
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.value_weighting import Signals, WeightingScheme, weigh

PAGE = Path(__file__).parents[2] / "docs" / "add-a-scheme.md"


@pytest.fixture
def surprise(tmp_path, monkeypatch) -> str:
    """The scheme of docs/add-a-scheme.md, by its import path."""
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert code is not None
    (tmp_path / "surprise_of_the_docs.py").write_text(code[1])
    monkeypatch.syspath_prepend(str(tmp_path))
    return "surprise_of_the_docs:Surprise"


def test_the_scheme_of_the_docs_trains_stage_baseline_by_the_command_line(chain_base, tmp_path, surprise):
    words = ["--model_name_or_path", str(chain_base / "base"), "--train_file", str(chain_base / "train.jsonl")]
    words += ["--output_dir", str(tmp_path / "run"), "--scheme", surprise, "--max_steps", "2"]
    assert main(["train", "baseline", *words]) == 0
    assert (tmp_path / "run" / "config.json").is_file()


@pytest.mark.parametrize("stage", ["baseline", "critic", "verifiable"])
def test_any_stage_supplies_the_losses_that_a_scheme_requires(prepare, chain_base, stage):
    run = prepare(stage, scheme="rho1", reference=str(chain_base / "base"), n_future=1 if stage == "critic" else 2)
    inputs = run.trainer.data_collator([run.inputs.train_dataset[i] for i in range(4)])
    batch, model, own = (TokenBatch.from_inputs(inputs, run.inputs.model.n_future), run.inputs.model, run.inputs.stage)
    outputs = own.forward(model, batch)
    signals = own.signals(batch, outputs, model, torch.Generator())
    expected = mtp_nll(outputs["hidden_states"], targets=batch.targets, **model.output_head())
    assert torch.equal(signals.nll, expected)
    assert signals.nll.dtype == torch.float32
    assert not signals.nll.requires_grad
    assert signals.reference_nll.shape == signals.nll.shape
    torch.testing.assert_close(signals.reference_nll[..., 0], signals.nll[..., 0])  # the same weights, at first


class ByPeople(WeightingScheme):
    requires = ("rewards", "human")


def test_a_column_of_ones_own_is_refused_as_a_signal_with_what_there_is(prepare):
    with pytest.raises(ConfigError, match=r"needs human, which is no signal: there are .*rewards.* a column `weights`"):
        assert prepare(scheme=f"{__name__}:ByPeople").trainer


class Sure(WeightingScheme):
    """The surer a prediction, the more it counts."""

    requires = ("entropy",)

    def forward(self, signals):
        return (-signals.entropy).exp()


@pytest.mark.parametrize("stage", ["baseline", "critic", "verifiable", "rho1"])
def test_any_stage_supplies_the_entropy_of_its_predictions(prepare, chain_base, monkeypatch, tmp_path, stage):
    (tmp_path / "sure_scheme.py").write_text(f"from {__name__} import Sure")
    monkeypatch.syspath_prepend(str(tmp_path))
    run = prepare(
        stage,
        scheme="sure_scheme:Sure",
        reference=str(chain_base / "base") if stage == "rho1" else None,
        n_future=1 if stage == "critic" else 2,
    )
    inputs = run.trainer.data_collator([run.inputs.train_dataset[i] for i in range(4)])
    model = run.inputs.model
    batch = TokenBatch.from_inputs(inputs, model.n_future)
    outputs = run.inputs.stage.forward(model, batch)
    signals = run.inputs.stage.signals(batch, outputs, model, torch.Generator())
    logits = model.full_forward(batch.input_ids, batch.attention_mask)["logits"].double()
    expected = torch.distributions.Categorical(logits=logits).entropy()
    valid = batch.targets != -100
    torch.testing.assert_close(signals.entropy[valid].double(), expected[valid], rtol=1e-5, atol=1e-5)
    assert signals.nll is not None  # made in the same pass
    assert run.fit().state.global_step > 0


class Products(TorchDispatchMode):
    """Counts matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += "mm" in func.overloadpacket.__name__
        return func(*args, **(kwargs or {}))


def test_beside_adapters_a_scheme_that_reads_losses_costs_no_pass_through_the_unembedding(
    prepare, monkeypatch, tmp_path
):
    (tmp_path / "sure_scheme.py").write_text(f"from {__name__} import Sure")
    monkeypatch.syspath_prepend(str(tmp_path))
    products = []
    for scheme in ("uniform", "sure_scheme:Sure"):
        run = prepare(scheme=scheme, lora_rank=2)
        inputs = run.trainer.data_collator([run.inputs.train_dataset[i] for i in range(4)])
        with Products() as counted:
            run.trainer.compute_loss(run.inputs.model.train(), inputs).backward()
        products.append(counted.count)
    assert products[0] == products[1] > 0


def test_losses_that_no_scheme_requires_are_not_made(prepare):
    run = prepare()
    inputs = run.trainer.data_collator([run.inputs.train_dataset[0]])
    batch = TokenBatch.from_inputs(inputs, 1)
    signals = run.inputs.stage.signals(batch, run.inputs.stage.forward(run.inputs.model, batch), run.inputs.model,
                                       torch.Generator())  # fmt: skip
    assert signals.nll is None
    assert run.inputs.stage.frozen_models() == []


class Given(WeightingScheme):
    """Returns what it is given."""

    def __init__(self, weights) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, signals):
        return self.weights


MASK = torch.tensor([[True, True, False]])
SIGNALS = Signals(mask=MASK, valid=MASK[..., None])


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.bfloat16, torch.float16, torch.float64])
def test_weights_are_float32_whatever_the_scheme_returns(dtype):
    weights = weigh(Given(torch.ones(1, 3, dtype=dtype)), SIGNALS)
    assert weights.dtype == torch.float32
    assert weights.flatten().tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("weights", [torch.ones(3), torch.ones(1, 2), torch.ones(1, 3, 2), [1.0], None, 1.0])
def test_weights_of_another_shape_or_kind_are_refused(weights):
    with pytest.raises(ValueError, match="scheme Given returned"):
        weigh(Given(weights), SIGNALS)
