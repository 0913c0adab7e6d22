"""What a language model says of every completion token: its surprise, its doubt, and the state it had there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor

from weighted_mtp.data import CompletionCollator, load_rows, tokenize_rows
from weighted_mtp.files import replacing
from weighted_mtp.models import MTPModel, load_tokenizer
from weighted_mtp.training.batch import TokenBatch

SIGNALS_FILE = "signals.safetensors"
BATCH_SIZE = 8


@torch.no_grad()
def write_signals(model_path: str, data: Path, path: Path, *, with_states: bool) -> None:
    """Writes the signals of every labelled token (EOS included) of the rows, row after row.

        surprisal[n] = -log p(x_n | x_<n)                   nats
        entropy[n]   = -sum over v of p(v) log p(v)         nats, of the same prediction
        states[n]    = the state it is made from, float16   what a value head on a frozen trunk reads

    Args:
        model_path: whatever `from_pretrained` reads.
        data: rows as `wmtp train` takes them.
        path: a safetensors file; it is there only when it is whole.
        with_states: whether to keep the states.
    """
    tokenizer = load_tokenizer(model_path)
    model = MTPModel.from_pretrained(model_path, n_future=1, dtype="float32").eval()
    dataset, _ = tokenize_rows(load_rows(data)[0], tokenizer)
    collate = CompletionCollator.from_tokenizer(tokenizer)
    found: dict[int, dict[str, Tensor]] = {}
    for rows in _alike(dataset):
        batch = TokenBatch.from_inputs(collate(rows), n_future=1)
        hidden = model.trunk_forward(batch.input_ids, batch.attention_mask)["hidden_states"]
        for b, row in enumerate(rows):
            at = batch.mask[b]
            found[row["row_id"]] = _signals(model, hidden[b][at], batch.targets[b, at, 0])
    columns = {
        name: torch.cat([found[i][name] for i in sorted(found)])
        for name in (("surprisal", "entropy", "states") if with_states else ("surprisal", "entropy"))
    }
    with replacing(path) as temporary:
        save_file(columns, temporary)


def _alike(dataset: Dataset) -> Iterator[list[dict[str, Any]]]:
    """Batches of rows of like length."""
    lengths = [len(ids) for ids in dataset["input_ids"]]
    order = sorted(range(len(dataset)), key=lengths.__getitem__)
    for start in range(0, len(order), BATCH_SIZE):
        yield [dataset[i] for i in order[start : start + BATCH_SIZE]]


def _signals(model: MTPModel, states: Float[Tensor, "n dim"], targets: Tensor) -> dict[str, Tensor]:
    head = model.output_head()
    logits = head["logit_scale"] * torch.nn.functional.linear(states, head["lm_head_weight"], head["bias"])
    if head["softcap"] is not None:
        logits = head["softcap"] * torch.tanh(logits / head["softcap"])
    logp = logits.log_softmax(-1)
    return {
        "surprisal": -logp.gather(-1, targets[:, None]).squeeze(-1),
        "entropy": -(logp.exp() * logp).sum(-1),
        "states": states.half(),
    }
