"""One draw of the made task: rows on disk, one shared initialisation, and every arm by the project's own stages."""

import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, TrainerCallback

from weighted_mtp.data import Chains, CompletionCollator, chain_tokenizer, verify
from weighted_mtp.demo.arms import Arm
from weighted_mtp.evaluation.critic_checks import measure_critic
from weighted_mtp.evaluation.cross_fit import skill_of_scores
from weighted_mtp.evaluation.decoding import accuracy, decode
from weighted_mtp.files import write_text
from weighted_mtp.inspection.finished_run import open_run
from weighted_mtp.inspection.tokens import view_tokens
from weighted_mtp.models import MTPModel
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.critics.table import load_critic
from weighted_mtp.training.loading import Inputs, hold_out, load_dataset, load_model, load_stage
from weighted_mtp.training.run import fit, make_trainer
from weighted_mtp.training.score_settings import ScoreConfig
from weighted_mtp.training.skill import with_skill

RESULT_FILE = "result.json"
HELD_OUT = 0.1
"""Share of the training prompts that a critic is not trained on: by their outcomes it stops early."""


@dataclass(frozen=True)
class Budget:
    """What every arm may spend. The same for all of them."""

    steps: int = 120  # optimizer steps of a policy
    critic_steps: int = 300  # optimizer steps of a critic
    batch_size: int = 128  # completions per step
    learning_rate: float = 4e-3  # peak learning rate: 30 steps of warm-up, then cosine down to 5 %
    test_prompts: int = 500  # prompts that training never shows
    curve_points: int = 6  # how often accuracy is measured, the end included
    folds: int = 3  # of the training rows, by which a critic's skill is measured


def write_chains(folder: Path, chains: Chains) -> None:
    """The rows of a draw, and those of the oracle: the training rows with weight 0 on the truly wrong tokens."""
    oracle = [row | {"weights": [*(float(not error) for error in row["token_error"]), 1.0]} for row in chains.train]
    rows = {"train": chains.train, "oracle": oracle, "test": chains.test, "fresh": chains.fresh}
    for name, some in rows.items():
        write_text(folder / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in some))


@dataclass
class Draw:
    """One draw of task, initialisation and batch order, on disk under `root`."""

    setting: str
    chains: Chains
    seed: int
    root: Path
    tracking_uri: str
    budget: Budget

    def __post_init__(self) -> None:
        self.tokenizer: PreTrainedTokenizerBase = chain_tokenizer()
        self._datasets: dict[tuple[str, str], Dataset] = {}

    def prepare(self) -> None:
        """Writes the rows and the shared initial model, anew: another budget's rows could hold this one's test
        prompts."""
        write_chains(self.root, self.chains)
        torch.manual_seed(self.seed)
        MTPModel(tiny_llama(self.tokenizer)).save_pretrained(self.root / "base")
        self.tokenizer.save_pretrained(self.root / "base")

    def config(self, arm: Arm) -> RunConfig:
        """The arm as a configuration that `wmtp train` takes as well."""
        b = self.budget
        steps = arm.times * (b.critic_steps if arm.stage == "critic" else b.steps)
        critic = str(self.root / arm.critic) if arm.stage == "verifiable" else arm.critic
        start = {"model_name_or_path": str(self.root / (arm.start or "base")), "n_future": arm.n_future}
        rows = {"train_file": str(self.root / f"{arm.rows}.jsonl"), "keep": arm.keep, "max_length": 64}
        if arm.stage == "critic":
            rows["eval_share"] = HELD_OUT
        sizes = {"per_device_train_batch_size": b.batch_size, "per_device_eval_batch_size": 256}
        rate = {"learning_rate": b.learning_rate, "warmup_steps": 30, "lr_scheduler_type": "cosine_with_min_lr"}
        tracking = {"tracking_uri": self.tracking_uri, "experiment_name": self.setting}
        more = {
            "stage": arm.stage,
            "head_warmup_steps": 0,
            "sampler": "pairs" if arm.value_loss == "pairwise" else "shuffled",
            "output_dir": str(self.root / arm.name),
            "max_steps": steps,
            "weight_decay": 0.01,
            "seed": self.seed,
            "logging_steps": 10,
            "save_steps": 0,
            "trainer_args": {"lr_scheduler_kwargs": {"min_lr_rate": 0.05}, "adam_beta2": 0.98},
            "scheme": arm.scheme,
            "scheme_options": arm.options,
            "critic": critic or None,
            "value_loss": arm.value_loss,
            "value_coef": 4.0 if arm.stage == "critic" and arm.critic != "generative" else 0.5,
            "reference": str(self.root / arm.reference) if arm.reference else None,
            "run_name": f"{arm.name}-{self.seed}",
        }
        return RunConfig.from_flat(start | rows | sizes | rate | tracking | more)

    def run(self, arm: Arm) -> dict[str, Any]:
        """Trains one arm and measures it; a finished arm is read from its directory instead. accuracy is the share of
        test prompts solved by greedy decoding; beside it stand curves, weights, and the quality of a critic."""
        folder = self.root / arm.name
        finished = self.finished(arm)
        if finished is not None:
            return finished
        shutil.rmtree(folder, ignore_errors=True)  # what an interrupted arm left
        started, cpu_started = time.perf_counter(), time.process_time()
        result = self._train(arm)
        result |= {
            **self._asked_for(arm),
            "seconds": round(time.perf_counter() - started, 1),
            "cpu_seconds": round(time.process_time() - cpu_started, 1),
        }
        write_text(folder / RESULT_FILE, json.dumps(result))
        return result

    def finished(self, arm: Arm) -> dict[str, Any] | None:
        """The result of an arm that was trained as it is asked for now, or None."""
        path = self.root / arm.name / RESULT_FILE
        if not path.exists():
            return None
        result = json.loads(path.read_text())
        same = all(result.get(name) == value for name, value in self._asked_for(arm).items())
        return result if same else None

    def _asked_for(self, arm: Arm) -> dict[str, Any]:
        return {"budget": asdict(self.budget), "definition": asdict(arm)}

    def _train(self, arm: Arm) -> dict[str, Any]:
        config = self.config(arm)
        if arm.scheme == "gated":
            self._measure_skill(arm.critic)
            config = with_skill(config)
        config.save()
        inputs = self._inputs(config)
        under = arm.decode_under or None
        curve = AccuracyCurve(self, max(1, config.train.max_steps // self.budget.curve_points), under)
        tags = {"arm": arm.name, "seed": str(self.seed), "setting": self.setting}
        watched = [curve] if arm.is_policy else []
        trainer = make_trainer(config, inputs, quiet=True, callbacks=watched, tags=tags)
        fit(trainer, config)
        history = [entry for entry in trainer.state.log_history if "loss" in entry]
        shown = inputs.train_dataset.select(range(min(512, len(inputs.train_dataset))))
        views = view_tokens(trainer, shown, self.tokenizer, arm.name)
        return {
            "setting": self.setting,
            "arm": arm.name,
            "seed": self.seed,
            "accuracy": self.accuracy(inputs.model, under) if arm.is_policy else None,
            "steps": trainer.state.global_step,
            "train_rows": len(inputs.train_dataset),
            "curve": {"steps": curve.steps, "accuracy": curve.values},
            "log": {k: [e[k] for e in history if k in e] for k in ("step", "ce_head_0")},
            "weights": [weight for view in views for weight in view["weights"]],
            "quality": self._critic_quality(config) if arm.stage == "critic" else None,
        }

    def _measure_skill(self, critic: str) -> None:
        """Of a critic on folds of the training rows, which it then has beside it."""
        rows, out = str(self.root / "train.jsonl"), str(self.root / f"{critic}-folds")
        config = ScoreConfig(
            str(self.root / critic), rows, out, cross_fit=self.budget.folds, max_length=64, batch_size=256
        )
        skill_of_scores(config, quiet=True)

    def _critic_quality(self, config: RunConfig) -> dict[str, Any]:
        """Of a critic that was trained and saved, on the teacher's traces of the test prompts."""
        fresh = load_dataset(config, str(self.root / "fresh.jsonl"), self.tokenizer)
        collate = CompletionCollator.from_tokenizer(self.tokenizer)
        return measure_critic(load_critic(config.train.output_dir), fresh, collate).as_dict()

    def views(self, arm: Arm, rows: list[int]) -> list[dict[str, Any]]:
        """Token views of some training rows, wrong ones too, under a trained arm's weights."""
        run = open_run(self.root / arm.name)
        all_rows = load_dataset(run.config, str(self.root / "train.jsonl"), self.tokenizer)
        return view_tokens(run.trainer, all_rows.select(rows), self.tokenizer, arm.name)

    def accuracy(self, model: MTPModel, under: str | None = None, guidance: float = 0.0) -> float:
        """Share of the draw's test prompts that greedy decoding solves, under a label and guidance if given."""
        prompts = [row["prompt"] for row in self.chains.test]
        length = len(self.chains.test[0]["completion"].split()) + 1
        asked = {"condition": under, "guidance": guidance}
        texts = decode(model, self.tokenizer, prompts, max_new_tokens=length, batch_size=512, **asked)
        return accuracy(prompts, texts, verify)

    def _inputs(self, config: RunConfig) -> Inputs:
        """As `load_inputs` does, with the rows tokenized once a draw."""
        key = (config.data.train_file, config.data.keep)
        if key not in self._datasets:
            self._datasets[key] = load_dataset(config, key[0], self.tokenizer, key[1])
        torch.manual_seed(config.train.seed)
        stage = load_stage(config, self.tokenizer)
        model = load_model(config, stage)
        rows, held_out = self._datasets[key], None
        if config.data.eval_share:
            rows, held_out = hold_out(rows, config.data.eval_share)
        stage.prepare(model, rows)
        return Inputs(model, self.tokenizer, rows, held_out, stage)


class AccuracyCurve(TrainerCallback):
    """Test accuracy at regular steps; the random state is left as it was."""

    def __init__(self, draw: Draw, every: int, under: str | None = None) -> None:
        self.draw, self.every, self.under = draw, every, under
        self.steps: list[int] = []
        self.values: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Decodes the test prompts."""
        if state.global_step % self.every == 0:
            self.steps.append(state.global_step)
            self.values.append(self.draw.accuracy(model, self.under))


def tiny_llama(tokenizer: Any) -> LlamaForCausalLM:
    """0.15 M parameters: width 64, 4 heads, 3 blocks."""
    sizes = {"hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 3, "num_attention_heads": 4}
    more = {"max_position_embeddings": 64, "initializer_range": 0.1, "tie_word_embeddings": False}
    special = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes, **more, **special))
