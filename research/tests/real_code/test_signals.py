"""Signals of every completion token against the plain model's full logits in float64."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from research.real_code.signals import BATCH_SIZE, write_signals
from research.tests.real_code.made_code import made_rows, made_task, save_tiny_model, write_rows
from weighted_mtp.data import load_rows, tokenize_rows
from weighted_mtp.models import MTPModel, load_tokenizer

FAMILIES = {"llama": {}, "gemma2": {"head_dim": 8, "final_logit_softcapping": 0.5}, "granite": {"logits_scaling": 8.0}}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """More rows than a batch, of different length, long and short ones in turn."""
    rows = [row for pair in zip(made_rows(2), made_task(1234567) * 2, strict=True) for row in pair]
    rows[3]["completion"] = "x"
    rows[3].pop("span", None)
    assert len(rows) % BATCH_SIZE
    return write_rows(tmp_path_factory.mktemp("signals") / "rows.jsonl", rows)


@pytest.fixture(scope="module", params=FAMILIES)
def model_path(request, tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model"), request.param, **FAMILIES[request.param])


@pytest.fixture(scope="module")
def signals(model_path, data, tmp_path_factory):
    path = tmp_path_factory.mktemp("written") / "fold0" / "signals.safetensors"
    write_signals(model_path, data, path, with_states=True)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    return load_file(path)


@pytest.fixture(scope="module")
def tokenized(model_path, data):
    """Ids and number of prompt tokens of each row, one by one."""
    dataset, _ = tokenize_rows(load_rows(data)[0], load_tokenizer(model_path))
    return [(torch.tensor(row["input_ids"]), row["labels"].count(-100)) for row in dataset]


def test_surprisal_and_entropy_are_those_of_the_full_logits(model_path, signals, tokenized):
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float64).eval()
    surprisal, entropy = [], []
    for ids, n_prompt in tokenized:
        with torch.no_grad():
            logp = model(ids[None]).logits[0, n_prompt - 1 : -1].log_softmax(-1)
        surprisal.append(-logp.gather(-1, ids[n_prompt:, None]).squeeze(-1))
        entropy.append(-(logp.exp() * logp).sum(-1))
    assert signals["surprisal"].std() > 0.05
    torch.testing.assert_close(signals["surprisal"].double(), torch.cat(surprisal), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(signals["entropy"].double(), torch.cat(entropy), rtol=1e-4, atol=1e-5)


def test_states_are_those_that_the_predictions_are_made_from(model_path, signals, tokenized):
    model = MTPModel.from_pretrained(model_path, n_future=1, dtype="float32").eval()
    states = []
    for ids, n_prompt in tokenized:
        with torch.no_grad():
            states.append(model.trunk_forward(ids[None])["hidden_states"][0, n_prompt - 1 : -1])
    expected = torch.cat(states)
    assert signals["states"].dtype == torch.float16
    torch.testing.assert_close(signals["states"].float(), expected, rtol=1e-3, atol=1e-3)


def test_students_leave_no_states(code_model, data, tmp_path):
    write_signals(code_model, data, tmp_path / "signals.safetensors", with_states=False)
    assert load_file(tmp_path / "signals.safetensors").keys() == {"surprisal", "entropy"}
