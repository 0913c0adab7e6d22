"""Rows with the log-probabilities of the policy that wrote them have their reference with them."""

import json

import pytest
import torch
from rich.console import Console

from tests.sampling.conftest import written  # noqa: F401
from weighted_mtp.data import DataError, load_rows, tokenize_rows
from weighted_mtp.data.batches import CompletionCollator
from weighted_mtp.models import load_tokenizer
from weighted_mtp.sampling.sample import sample
from weighted_mtp.sampling.settings import SampleConfig
from weighted_mtp.training.batch import TokenBatch
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.loading import load_inputs, load_scheme

pytestmark = pytest.mark.filterwarnings("ignore:.*(holds . heads|holds a value head)")  # which are not trained here


@pytest.fixture(scope="module")
def sampled(written, tmp_path_factory):  # noqa: F811
    """Rows that the model itself wrote at temperature 1, with log-probabilities."""
    out = tmp_path_factory.mktemp("policy") / "rows.jsonl"
    settings = {"temperature": 1.0, "top_p": 1.0, "logprobs": True, "verifier": "numeric", "max_new_tokens": 6}
    problems = str(written / "problems.jsonl")
    sample(SampleConfig(model=str(written / "model"), problems=problems, out=str(out), **settings), Console(quiet=True))
    return out


def inputs_of(written, rows, tmp_path, **settings):  # noqa: F811
    flat = {"stage": "baseline", "model_name_or_path": str(written / "model"), "train_file": str(rows)}
    flat |= {"output_dir": str(tmp_path), "scheme": "iw_sft", "max_steps": 1, "on_bad_row": "skip", **settings}
    config = RunConfig.from_flat(flat)
    return config, load_inputs(config)


@pytest.mark.parametrize("n_future", [1, 3])
def test_the_reference_loss_is_that_of_the_model_that_wrote_the_rows(written, sampled, tmp_path, n_future):  # noqa: F811
    losses = []
    for reference in (None, str(written / "model")):
        _, inputs = inputs_of(written, sampled, tmp_path, reference=reference, n_future=n_future)
        rows = [inputs.train_dataset[i] for i in range(len(inputs.train_dataset))]
        batch = TokenBatch.from_inputs(CompletionCollator.from_tokenizer(inputs.tokenizer)(rows), n_future)
        outputs = inputs.stage.forward(inputs.model.eval(), batch)
        signals = inputs.stage.signals(batch, outputs, inputs.model, torch.Generator())
        kept = {row["row_id"]: signals.reference_nll[i][batch.valid[i]] for i, row in enumerate(rows)}
        losses.append(kept)
    by_policy, by_model = losses
    assert len(by_policy) >= 8, "few rows read back as other tokens"
    for row_id, nll in by_policy.items():
        torch.testing.assert_close(nll, by_model[row_id], atol=1e-4, rtol=1e-4)


def test_rows_that_read_back_as_other_tokens_are_bad(written, sampled):  # noqa: F811
    rows, tokenizer = load_rows(sampled)[0], load_tokenizer(str(written / "model"))
    rows[0]["logprobs"] = rows[0]["logprobs"][:-1]
    with pytest.raises(DataError, match=r"row 0 .*`logprobs` are of . tokens and the completion has . here"):
        tokenize_rows(rows, tokenizer, policy=True)
    assert "logprobs" not in tokenize_rows(rows, tokenizer)[0].column_names, "nobody reads them"


def test_without_either_the_scheme_says_what_to_give(written, sampled, tmp_path):  # noqa: F811
    rows = [json.loads(line) for line in sampled.read_text().splitlines()]
    for row in rows:
        del row["logprobs"]
    (tmp_path / "bare.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config, inputs = inputs_of(written, tmp_path / "bare.jsonl", tmp_path)
    with pytest.raises(ConfigError, match=r"a --reference or rows with `logprobs` \(wmtp sample --logprobs true\)"):
        load_scheme(config, inputs.stage, inputs.train_dataset)
