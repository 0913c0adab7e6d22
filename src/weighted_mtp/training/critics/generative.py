"""The generative critic: one language model of right and wrong completions, told the label of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from weighted_mtp.data import is_right
from weighted_mtp.losses import mtp_nll, value_bce
from weighted_mtp.models import RIGHT, UNTOLD, WRONG, CriticSpec, MTPModel, load_tokenizer
from weighted_mtp.models.label_condition import LabelEmbedding, LabelTags
from weighted_mtp.training.batch import BatchCounts, TokenBatch
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.critics.base import Critic, Judgement, at_last_prompt_token, start_prior
from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.stage import Stage
from weighted_mtp.value_weighting import values_from_credit


@dataclass(frozen=True)
class GenerativeCritic(Critic):
    """One language model of right and wrong completions; credit is the log-ratio of its two predictions.

        credit[t] = log p(x_t+1 | x_<=t, right) - log p(x_t+1 | x_<=t, wrong)
        V[t] = sigmoid(prior + sum of credit[s], s < t)

    By Bayes' rule the first is exactly the change of the log-odds of success that the token causes, so prior and
    credits sum to the log-odds after the whole completion.
    """

    gives_credit: ClassVar[bool] = True

    @torch.no_grad()
    def judge(self, batch: TokenBatch) -> Judgement:
        """Values and credit: one forward pass of every row under each label."""
        rows = len(batch.input_ids)
        learned_prior = self.model.critic is not None and self.model.critic.prior == "head"
        told = [RIGHT, WRONG, UNTOLD] if learned_prior else [RIGHT, WRONG]
        # filled on the device: copying a list from the host would wait for it
        condition = torch.cat([torch.full((rows,), label, device=batch.input_ids.device) for label in told])
        outputs = self.model(**batch.repeated_rows(len(told)), condition=condition)
        targets = batch.hidden_targets[..., :1].repeat(2, 1, 1)
        hidden = outputs["hidden_states"][: len(targets), :, :1]
        right, wrong = mtp_nll(hidden, targets=targets, **self.model.output_head()).chunk(2)
        credit = batch.by_row(wrong - right).squeeze(-1)
        logits = outputs["value_logits"][-rows:].squeeze(-1)
        return Judgement(values_from_credit(credit, at_last_prompt_token(logits, batch), batch.mask), credit)


@dataclass
class GenerativeStage(Stage):
    """Cross-entropy of every completion under its own label. Its values are read at evaluation only."""

    learned_prior: bool = False
    """Also learns P(success | prompt) from the state of the last prompt token, in a pass of each row that is told
    nothing; otherwise the prior is the share of right completions."""
    counted: ClassVar[str] = "rows"

    undiscounted = "a generative critic learns P(success), undiscounted"
    needs_value_head = True  # the prior

    def prepare(self, model: MTPModel, rows: Dataset) -> None:
        """A fresh prior is the share of right rows; where it is the base rate, it stays that."""
        start_prior(model, rows)
        if not self.learned_prior:
            assert model.value_head is not None, "load_model adds it"
            model.value_head.bias.requires_grad_(False)

    def forward(self, model: torch.nn.Module, batch: TokenBatch) -> dict[str, Tensor]:
        """States under the label, and value logits that have not seen it."""
        told = is_right(batch.rewards).long()
        if not self.learned_prior:
            return model(**batch.rows, condition=told)
        outputs = model(**batch.repeated_rows(2), condition=torch.cat([told, torch.full_like(told, UNTOLD)]))
        return {
            "hidden_states": outputs["hidden_states"][: len(batch.hidden_targets)],
            "value_logits": outputs["value_logits"][len(told) :],
        }

    def value_loss(
        self, batch: TokenBatch, outputs: Mapping[str, Tensor], counts: BatchCounts, model: MTPModel
    ) -> Tensor | None:
        """Cross-entropy of the label at the last prompt token, where the prior is learned."""
        if not self.learned_prior:
            return None
        logits = at_last_prompt_token(outputs["value_logits"].squeeze(-1), batch)[:, None]
        has_tokens = batch.mask.any(1, keepdim=True)
        return value_bce(logits, batch.rewards[:, None], has_tokens, normalizer=self.value_normalizer(counts))

    def _known(self, batch: TokenBatch, outputs: Mapping[str, Tensor], model: MTPModel) -> dict[str, Any]:
        return {} if model.training else GenerativeCritic(model).judge(batch)._asdict()


def spec(config: RunConfig, tokenizer: Any) -> CriticSpec:
    """A learned embedding of the label, or the tokens of two tags."""
    settings = config.critic
    if settings.label_tags is None:
        return CriticSpec("generative", settings.prior)
    tokenizer = tokenizer or load_tokenizer(config.model.tokenizer_name_or_path or config.model.model_name_or_path)
    right, wrong = _tag_ids(tokenizer, settings.label_tags)
    opening = tokenizer(settings.label_tags[0])["input_ids"][:1]
    bos = tokenizer.bos_token_id if opening == [tokenizer.bos_token_id] else None
    return CriticSpec("generative", settings.prior, {"right": right, "wrong": wrong}, bos)


def _tag_ids(tokenizer: PreTrainedTokenizerBase, tags: list[str]) -> list[list[int]]:
    try:
        found: Any = tokenizer(tags, add_special_tokens=False)["input_ids"]
    except Exception as error:  # a bare one, where the tokenizer has no token for what it does not know
        raise ConfigError(
            f"label_tags is {tags}, which the tokenizer cannot read ({error}): give texts that it knows"
        ) from None
    for tag, ids in zip(tags, found, strict=True):
        if not ids or tokenizer.unk_token_id in ids:
            what = "a part that the tokenizer does not know" if ids else "no token"
            raise ConfigError(f"label_tags is {tags}, and {tag!r} has {what}: give texts that it knows")
    if found[0] == found[1]:
        raise ConfigError(
            f"label_tags is {tags}, and both are the same tokens ({found[0]}), so that right and wrong could not be "
            "told apart: give texts that the tokenizer reads differently"
        )
    return found


def stage(config: RunConfig, tokenizer: PreTrainedTokenizerBase) -> Stage:
    """Stage 1 of this critic."""
    settings = config.critic
    return GenerativeStage(
        learned_prior=settings.prior == "head",
        lm_coef=settings.lm_coef,
        gamma=config.weighting.gamma,
        value_coef=settings.value_coef,
    )


def read(model: MTPModel, path: str, dtype: str, reference: str | None) -> Critic:
    """The critic that its training left."""
    why = _same_under_both_labels(model)
    if why is not None:
        raise ConfigError(
            f"critic {path} was never trained to tell right from wrong ({why}): train it with "
            "`wmtp train critic --critic generative`"
        )
    return GenerativeCritic(model)


def _same_under_both_labels(model: MTPModel) -> str | None:
    """Why the model reads the same whichever label it is told; None where it does not."""
    condition = model.label_condition
    if isinstance(condition, LabelTags):
        return "both of its tags are the same tokens" if bool((condition.tags[0] == condition.tags[1]).all()) else None
    assert isinstance(condition, LabelEmbedding), "a generative critic is told the label in one of two ways"
    embeddings: Tensor = model.hf_model.get_input_embeddings().weight
    right, wrong = condition.weight.detach()
    # float32 loses what is added to a number 10 million times as large
    seen = (right - wrong).abs().max() > 1e-7 * embeddings[:1000].detach().float().abs().mean()
    return None if bool(seen) else "its embeddings of the two labels are the same, or all 0"
