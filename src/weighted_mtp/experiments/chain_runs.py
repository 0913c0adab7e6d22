"""One draw of the made task: rows on disk, one shared initialisation, and every arm by the project's own stages."""

import json
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, TrainerCallback

from weighted_mtp.data import ChainTask, chain_tokenizer, make_chains, share_right, verify
from weighted_mtp.evaluation.decoding import accuracy, decode
from weighted_mtp.experiments.arms import Arm
from weighted_mtp.models import MTPModel
from weighted_mtp.training.config import (
    CriticConfig,
    DataConfig,
    ModelConfig,
    ReferenceConfig,
    RunConfig,
    TrackingConfig,
    TrainConfig,
    WeightingConfig,
)
from weighted_mtp.training.inspection import collect_weights, view_tokens
from weighted_mtp.training.run import Inputs, fit, load_dataset, load_model, load_stage, make_trainer

CRITIC = Arm("critic", "critic")


@dataclass(frozen=True)
class Budget:
    """What every arm may spend. The same for all of them."""

    steps: int = 120
    """Optimizer steps of a policy."""
    critic_steps: int = 300
    """Optimizer steps of the critic."""
    batch_size: int = 128
    """Completions per step."""
    learning_rate: float = 4e-3
    """Peak learning rate: 30 steps of warm-up, then cosine down to 5 %."""
    test_prompts: int = 500
    """Prompts that training never shows."""


@dataclass
class Draw:
    """One draw of task, initialisation and batch order, on disk under `root`."""

    task: ChainTask
    seed: int
    root: Path
    tracking_uri: str
    budget: Budget

    def __post_init__(self) -> None:
        self.tokenizer: PreTrainedTokenizerBase = chain_tokenizer()
        self.chains = make_chains(self.task, self.seed, n_test_prompts=self.budget.test_prompts)
        self._datasets: dict[str, Dataset] = {}

    def prepare(self) -> None:
        """Writes the rows and the shared initial model.

        Both follow from seed and budget and are written anew: rows left by another budget could hold its test prompts.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        for name, rows in (("train", self.chains.train), ("test", self.chains.test)):
            (self.root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        torch.manual_seed(self.seed)
        MTPModel(tiny_llama(self.tokenizer)).save_pretrained(self.root / "base")
        self.tokenizer.save_pretrained(self.root / "base")

    @property
    def share_right(self) -> float:
        """Share of training completions that are right."""
        return share_right(self.chains.train)

    def config(self, arm: Arm) -> RunConfig:
        """The arm as a configuration that `wmtp train` takes as well."""
        b = self.budget
        needs_critic = arm.stage == "verifiable"
        return RunConfig(
            stage=arm.stage,
            model=ModelConfig(str(self.root / "base"), n_future=arm.n_future, head_warmup_steps=0),
            data=DataConfig(str(self.root / "train.jsonl"), keep=arm.keep, max_length=64),  # type: ignore[arg-type]
            train=TrainConfig(
                output_dir=str(self.root / arm.name),
                max_steps=b.critic_steps if arm.stage == "critic" else b.steps,
                per_device_train_batch_size=b.batch_size,
                per_device_eval_batch_size=256,
                learning_rate=b.learning_rate,
                weight_decay=0.01,
                warmup_steps=30,
                lr_scheduler_type="cosine_with_min_lr",
                seed=self.seed,
                logging_steps=10,
                save_steps=0,
                trainer_args={"lr_scheduler_kwargs": {"min_lr_rate": 0.05}, "adam_beta2": 0.98},
            ),
            weighting=WeightingConfig(scheme=arm.scheme, scheme_options=arm.options),
            critic=CriticConfig(
                critic=str(self.root / CRITIC.name) if needs_critic else None,
                value_coef=4.0 if arm.stage == "critic" else 0.5,
            ),
            reference=ReferenceConfig(str(self.root / "right_only") if arm.stage == "rho1" else None),
            tracking=TrackingConfig(self.tracking_uri, self.task.name, f"{arm.name}-{self.seed}"),
        )

    def run(self, arm: Arm, callbacks: list[TrainerCallback] | None = None) -> dict[str, Any]:
        """Trains one arm and measures it; a finished arm is read from its directory instead.

        Returns:
            setting, arm, seed, accuracy (share of test prompts solved by greedy decoding), curves, and weights.
        """
        folder = self.root / arm.name
        result_file = folder / "result.json"
        if result_file.exists():
            result = json.loads(result_file.read_text())
            if result["budget"] == asdict(self.budget):
                return result
        shutil.rmtree(folder, ignore_errors=True)  # what an interrupted arm left
        started, cpu_started = time.perf_counter(), time.process_time()
        result = self._train(arm, callbacks or [])
        result |= {
            "budget": asdict(self.budget),
            "seconds": round(time.perf_counter() - started, 1),
            "cpu_seconds": round(time.process_time() - cpu_started, 1),
        }
        result_file.write_text(json.dumps(result))
        return result

    def _train(self, arm: Arm, callbacks: list[TrainerCallback]) -> dict[str, Any]:
        config = self.config(arm)
        config.save()
        inputs = self._inputs(config)
        curve = AccuracyCurve(self, every=max(1, config.train.max_steps // 6))
        tags = {"arm": arm.name, "seed": str(self.seed), "setting": self.task.name}
        watched = [] if arm.stage == "critic" else [curve]
        trainer = make_trainer(config, inputs, quiet=True, callbacks=[*watched, *callbacks], tags=tags)
        fit(trainer, config)
        history = [entry for entry in trainer.state.log_history if "loss" in entry]
        shown = inputs.train_dataset.select(range(min(512, len(inputs.train_dataset))))
        return {
            "setting": self.task.name,
            "arm": arm.name,
            "seed": self.seed,
            "accuracy": None if arm.stage == "critic" else self.accuracy(inputs.model),
            "steps": config.train.max_steps,
            "train_rows": len(inputs.train_dataset),
            "curve": {"steps": curve.steps, "accuracy": curve.values},
            "log": {k: [e[k] for e in history] for k in ("step", "ce_head_0")},
            "weights": collect_weights(trainer, shown, self.tokenizer, arm.name),
        }

    def views(self, arm: Arm, rows: list[int]) -> list[dict[str, Any]]:
        """Token views of some training rows under a trained arm's weights."""
        config = self.config(arm)
        config = replace(config, model=replace(config.model, model_name_or_path=config.train.output_dir))
        inputs = self._inputs(config)
        trainer = make_trainer(config, inputs, quiet=True)
        trainer.load_weighting(config.train.output_dir)
        return view_tokens(trainer, inputs.train_dataset.select(rows), self.tokenizer, arm.name)

    def accuracy(self, model: MTPModel) -> float:
        """Share of the draw's test prompts that greedy decoding solves."""
        prompts = [row["prompt"] for row in self.chains.test]
        texts = decode(model, self.tokenizer, prompts, max_new_tokens=self.task.n_ops + 1, batch_size=512)
        return accuracy(prompts, texts, verify)

    def _inputs(self, config: RunConfig) -> Inputs:
        """As `load_inputs` does, with the rows tokenized once a draw."""
        keep = config.data.keep
        if keep not in self._datasets:
            self._datasets[keep] = load_dataset(config, config.data.train_file, self.tokenizer, keep)
        torch.manual_seed(config.train.seed)
        stage = load_stage(config, self.tokenizer)
        return Inputs(load_model(config, stage), self.tokenizer, self._datasets[keep], None, stage)


class AccuracyCurve(TrainerCallback):
    """Test accuracy at regular steps; the random state is left as it was."""

    def __init__(self, draw: Draw, every: int) -> None:
        self.draw, self.every = draw, every
        self.steps: list[int] = []
        self.values: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Decodes the test prompts."""
        if state.global_step % self.every == 0:
            self.steps.append(state.global_step)
            self.values.append(self.draw.accuracy(model))


def tiny_llama(tokenizer: Any) -> LlamaForCausalLM:
    """0.15 M parameters: width 64, 4 heads, 3 blocks."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=172,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=64,
        initializer_range=0.1,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)
