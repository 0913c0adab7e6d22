"""Where one round of one draw lies on disk: problems, the model that it starts from, and that model's samples."""

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from research.on_policy.tasks import TASKS, character_tokenizer
from weighted_mtp.evaluation.decoding import Completion, complete
from weighted_mtp.files import write_text
from weighted_mtp.models import MTPModel

Row = dict[str, Any]


@dataclass(frozen=True)
class Budget:
    """Sizes, steps and rates; the same for every arm of a task."""

    start_share: float  # share of right samples of the validation problems at which the start's rate goes down
    steps: int  # optimizer steps of an arm
    learning_rate: float  # peak learning rate of an arm
    critic_steps: int = 120  # optimizer steps of a critic at most: it stops early
    start_learning_rate: float = 3e-3  # learning rate on demonstrations
    start_steps: int = 600  # optimizer steps on them at most, before the rate goes down
    last_steps: int = 20  # optimizer steps on them while it does
    validation_prompts: int = 200  # problems by which that is decided
    batch_size: int = 64  # completions per step
    demonstrations: int = 3_000  # problems with their solutions
    prompts: int = 1_000  # problems that are sampled, of a round
    samples: int = 4  # completions of each
    test_prompts: int = 500  # problems that no training shows
    fresh_samples: int = 4  # completions of each test problem, that critics and the start are measured on
    width: int = 128  # of the model
    layers: int = 3  # of the model
    folds: int = 2  # by which a critic's skill is measured
    rounds: int = 3  # rounds for which there are problems


@dataclass(frozen=True)
class Place:
    """One round: of the arms that share a start, or, from the second on, of one arm."""

    task: str
    share: int  # right completions of the start, about, in percent
    seed: int
    out: Path
    budget: Budget
    lineage: tuple[str, ...] = field(default=())
    """Arms that were trained in the rounds before."""
    looks: ClassVar[int] = 8
    """At a critic's held-out rows, in as many steps as it is given."""

    @property
    def folder(self) -> Path:
        """Of this round's rows and models."""
        return self.out / "work" / self.name

    @property
    def name(self) -> str:
        """Of the folders."""
        after = "".join(f"-then-{arm}" for arm in self.lineage)
        return f"{self.task}-{self.share}-draw{self.seed}{after}"

    @property
    def before(self) -> "Place | None":
        """The round before, None where this is the first."""
        if not self.lineage:
            return None
        return Place(self.task, self.share, self.seed, self.out, self.budget, self.lineage[:-1])

    @property
    def start(self) -> Path:
        """The model that wrote this round's samples, and from which its arms start."""
        before = self.before
        return before.folder / self.lineage[-1] if before else self.folder / "start"

    @property
    def training(self) -> dict[str, Any]:
        """Settings of every training here that is not told otherwise."""
        return {}

    @cached_property
    def tokenizer(self) -> Any:
        """A token a character."""
        return character_tokenizer()

    @cached_property
    def problems(self) -> dict[str, list[str]]:
        """Prompts of the draw: demonstrations, test, and those of each round; all are different."""
        b, rng = self.budget, random.Random(f"{self.task} {self.seed}")
        sizes = {"demonstrations": b.demonstrations, "test": b.test_prompts}
        sizes["validation"] = b.validation_prompts
        sizes |= {f"round{i}": b.prompts for i in range(b.rounds)}
        every = iter(TASKS[self.task].prompts(rng, sum(sizes.values())))
        return {name: [next(every) for _ in range(n)] for name, n in sizes.items()}

    def write_first(self) -> None:
        """The demonstrations and the untrained model; both follow from task, seed and budget."""
        task = TASKS[self.task]
        some = self.problems["demonstrations"]
        self.write("demonstrations", ({"prompt": p, "completion": task.solution(p), "label": True} for p in some))
        self.write_untrained()

    def write_untrained(self) -> None:
        """A model that has seen nothing, and its tokenizer."""
        torch.manual_seed(self.seed)
        b, tokenizer = self.budget, self.tokenizer
        sizes = {"hidden_size": b.width, "intermediate_size": round(b.width * 8 / 3), "num_hidden_layers": b.layers}
        more = {
            "initializer_range": 0.08,
            "num_attention_heads": 4,
            "max_position_embeddings": self.most_tokens,
            "tie_word_embeddings": False,
        }
        special = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        config = LlamaConfig(vocab_size=len(tokenizer), **sizes, **more, **special)
        MTPModel(LlamaForCausalLM(config)).save_pretrained(self.folder / "untrained")
        tokenizer.save_pretrained(self.folder / "untrained")

    @property
    def most_tokens(self) -> int:
        """Of a prompt and a completion, that may be some tokens longer than a solution."""
        return len(self.problems["test"][0]) + self.most_new_tokens + 1  # and an end behind one that was cut off

    @property
    def most_new_tokens(self) -> int:
        """Of a completion, its end included."""
        return TASKS[self.task].length + 2

    def decode(
        self,
        model: Path | MTPModel,
        prompts: Sequence[str],
        *,
        sampled: str = "",
        condition: str | None = None,
        guidance: float = 0.0,
        batch_size: int = 500,
    ) -> list[Completion]:
        """Completions of the prompts, in order; greedy, or at temperature 1, seeded by the draw and the word."""
        loaded = model if isinstance(model, MTPModel) else MTPModel.from_pretrained(model)
        rng = random.Random(f"{sampled} {self.name}")
        seeds = [[rng.randrange(2**32)] for _ in prompts] if sampled else None
        found: list[Completion] = []
        for i in range(0, len(prompts), batch_size):
            some = slice(i, i + batch_size)
            found += complete(
                loaded, self.tokenizer, prompts[some], max_new_tokens=self.most_new_tokens, condition=condition,
                seeds=seeds and seeds[some], temperature=1.0 if seeds else 0.0, guidance=guidance,
            )  # fmt: skip
        return found

    def judged(self, prompts: Iterable[str], completions: Iterable[Completion]) -> list[Row]:
        """Completions as rows, with what the program says and which tokens are truly wrong.

        Left out, and so never right, are those that hold nothing or a special token.
        """
        task, rows = TASKS[self.task], list[Row]()
        for prompt, one in zip(prompts, completions, strict=True):
            if one.text and one.tokens == len(one.text) + (one.ended == "eos"):
                wrong = task.wrong_tokens(prompt, one.text)
                row = {"prompt": prompt, "completion": one.text, "label": task.verify(prompt, one.text)}
                row |= {"token_error": wrong[:-1], "logprobs": one.logprobs}
                rows.append(row | ({"truncated": True} if one.ended == "length" else {"wrong_end": wrong[-1]}))
        return rows

    def write(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Rows as a file of the round."""
        write_text(self.folder / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))

    def read(self, name: str) -> list[Row]:
        """What `write` wrote."""
        return [json.loads(line) for line in (self.folder / f"{name}.jsonl").read_text().splitlines()]

    def as_dict(self) -> dict[str, Any]:
        """What a result says of its round."""
        return {"task": self.task, "share": self.share, "seed": self.seed, "lineage": list(self.lineage)} | {
            "budget": asdict(self.budget)
        }
