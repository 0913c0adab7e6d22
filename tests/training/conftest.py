"""Real runs in this process: a tiny Llama, a few steps, one MLflow database for all of them."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conftest import td_unless_named


class Prepared(NamedTuple):
    """A run that is ready to train."""

    trainer: Any
    config: Any
    inputs: Any

    def fit(self, checkpoint: Path | None = None) -> Any:
        """Trains, and gives the trainer."""
        from weighted_mtp.training.run import fit

        fit(self.trainer, self.config, checkpoint)
        return self.trainer

    def parameters(self) -> dict[str, Any]:
        """A copy of the model's parameters."""
        return {name: p.detach().clone() for name, p in self.inputs.model.named_parameters()}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """A tiny model is faster on one thread, and test workers then do not wait for each other's."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def rows(chain_base: Path) -> dict[str, Path]:
    """train (80) and eval (21) rows of 2 to 8 labelled tokens, so that no two batches count alike."""
    from weighted_mtp.data import EASY, make_chains

    train: list[dict[str, Any]] = []
    test: list[dict[str, Any]] = []
    for n_ops in (1, 2, 3, 5, 7):
        chains = make_chains(dataclasses.replace(EASY, n_ops=n_ops), seed=n_ops, n_train_traces=24, n_test_prompts=2)
        train += chains.train[:16]
        test += chains.train[16:]
    files = {"train": chain_base / "uneven.jsonl", "eval": chain_base / "uneven_eval.jsonl"}
    for name, some in (("train", train[::3] + train[1::3] + train[2::3]), ("eval", test[:21])):
        files[name].write_text("".join(json.dumps(row) + "\n" for row in some))
    return files


@pytest.fixture(scope="session")
def prepare(
    chain_base: Path, rows: dict[str, Path], store: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Prepared]:
    """A function (stage, **flat settings) -> Prepared: four steps of eight rows, if not said otherwise.

    Stage verifiable starts from a model with a value head, and weighs by TD errors where no scheme is named.
    """
    from weighted_mtp.training.config import RunConfig
    from weighted_mtp.training.loading import load_inputs
    from weighted_mtp.training.run import make_trainer

    def make(stage: str = "baseline", *, callbacks: list[Any] | None = None, **settings: Any) -> Prepared:
        settings = td_unless_named(stage, settings)
        own_head = stage == "verifiable" and settings.get("critic") is None
        flat = {
            "stage": stage,
            "model_name_or_path": str(chain_base / ("critic" if own_head else "base")),
            "train_file": str(rows["train"]),
            "output_dir": str(tmp_path_factory.mktemp(stage)),
            "tracking_uri": store,
            "max_steps": 4,
            "per_device_train_batch_size": 8,
            "per_device_eval_batch_size": 8,
            "learning_rate": 1e-3,
            "logging_steps": 2,
            "save_steps": 0,
        }
        config = RunConfig.from_flat(flat | settings)
        config.save()
        inputs = load_inputs(config)
        return Prepared(make_trainer(config, inputs, quiet=True, callbacks=callbacks), config, inputs)

    return make


@pytest.fixture(scope="session")
def train(prepare: Callable[..., Prepared]) -> Callable[..., Any]:
    """A function (stage, **flat settings) -> the trainer, after training."""

    def run(stage: str = "baseline", **settings: Any) -> Any:
        return prepare(stage, **settings).fit()

    return run


@pytest.fixture(scope="session")
def critic_dir(train: Callable[..., Any]) -> Path:
    """What a short stage 1 left: a trained trunk and value head."""
    return Path(train("critic", max_steps=12, learning_rate=3e-3).args.output_dir)
