"""Models in a directory write in batches of whole parts, so that a part is the same whenever it is written."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from weighted_mtp.evaluation.asking import load_asked
from weighted_mtp.evaluation.decoding import complete
from weighted_mtp.models.sources import digest_of_model
from weighted_mtp.sampling.settings import SampleConfig
from weighted_mtp.sampling.written import Asked, Written

_BATCHES = 4
"""Of a part: within one, batches hold prompts of about one length."""


class Directory:
    """Writes by head 0, each sample drawn from the seed, its problem's number and its own."""

    whole_parts = True
    """A part that was cut off is written again from its beginning: alone, its last rows might round differently."""

    def __init__(self, config: SampleConfig, problems: dict[int, dict[str, Any]], tell: Callable[[str], None]) -> None:
        self._config = config
        self._model, self._tokenizer = load_asked(config, problems, tell)

    def identity(self) -> dict[str, Any]:
        """What the rows say of who wrote them."""
        return {"model": self._config.model, "model_digest": digest_of_model(self._config.model)[:12]}

    def parts(self, asked: Sequence[Asked]) -> Iterator[Sequence[Asked]]:
        """Some batches each."""
        size = _BATCHES * self._config.batch_size
        for start in range(0, len(asked), size):
            yield asked[start : start + size]

    def write(self, asked: Sequence[Asked]) -> Iterator[Written]:
        """Completions of a part, in order."""
        config = self._config
        order = sorted(range(len(asked)), key=lambda i: (len(str(asked[i].row["prompt"])), asked[i].problem))
        found: dict[int, Written] = {}
        for start in range(0, len(order), config.batch_size):
            chosen = order[start : start + config.batch_size]
            completions = complete(
                self._model,
                self._tokenizer,
                [asked[i].row["prompt"] for i in chosen],
                max_new_tokens=config.max_new_tokens,
                seeds=[[config.seed, asked[i].problem, asked[i].sample] for i in chosen]
                if config.temperature
                else None,
                temperature=config.temperature,
                top_p=config.top_p,
                stop=config.stop or (),
                tools=[asked[i].row.get("tools") for i in chosen],
            )
            found |= {
                i: Written(c.text, c.ended, c.tokens, c.logprobs if config.logprobs else None)
                for i, c in zip(chosen, completions, strict=True)
            }
        yield from (found[i] for i in range(len(asked)))
