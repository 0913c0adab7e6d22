"""Models in a directory write parts of whole prompts, in batches, so that a part is the same whenever it is written."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from weighted_mtp.evaluation.asking import load_asked, silent
from weighted_mtp.evaluation.decoding import complete
from weighted_mtp.models.sources import digest_of_model
from weighted_mtp.sampling.settings import SampleConfig
from weighted_mtp.sampling.written import Asked, Written

_BATCHES = 4
"""Of a part, about: within one, batches hold prompts of about one length."""


@dataclass(frozen=True)
class Directory:
    """Writes by head 0, each sample drawn from the seed, its problem's number and its own."""

    config: SampleConfig
    problems: dict[int, dict[str, Any]]
    tell: Callable[[str], None] = silent
    """Takes what is said of the model when it is opened."""

    def identity(self) -> dict[str, Any]:
        """What the rows say of who wrote them."""
        return {"model": self.config.model, "model_digest": digest_of_model(self.config.model)[:12]}

    @property
    def block(self) -> int:
        """Completions of a part, all of whole problems."""
        return max(1, _BATCHES * self.config.batch_size // self.config.n) * self.config.n

    part = block

    def open(self) -> Callable[[Sequence[Asked]], Iterator[Written]]:
        """Loads the model; what is returned gives the completions of a part, in order."""
        config = self.config
        model, tokenizer = load_asked(config, self.problems, self.tell)

        def write(asked: Sequence[Asked]) -> Iterator[Written]:
            order = sorted(range(len(asked)), key=lambda i: (len(str(asked[i].row["prompt"])), asked[i].problem))
            found: dict[int, Written] = {}
            for start in range(0, len(order), config.batch_size):
                chosen = order[start : start + config.batch_size]
                seeds = [[config.seed, asked[i].problem, asked[i].sample] for i in chosen]
                completions = complete(
                    model,
                    tokenizer,
                    [asked[i].row["prompt"] for i in chosen],
                    max_new_tokens=config.max_new_tokens,
                    seeds=seeds if config.temperature else None,
                    temperature=config.temperature,
                    top_p=config.top_p,
                    stop=config.stop or (),
                    tools=[asked[i].row.get("tools") for i in chosen],
                    drafts=config.drafts,
                )
                found |= {
                    i: Written(c.text, c.ended, c.tokens, c.logprobs if config.logprobs else None, c.drafts)
                    for i, c in zip(chosen, completions, strict=True)
                }
            yield from (found[i] for i in range(len(asked)))

        return write
