"""A critic of the made task against the truth: on fresh traces of prompts that it never saw."""

from typing import Any

import numpy as np
import torch
from datasets import Dataset

from weighted_mtp.data import CompletionCollator
from weighted_mtp.evaluation.critic_quality import critic_quality
from weighted_mtp.training.batch import TokenBatch
from weighted_mtp.training.critics import Critic
from weighted_mtp.value_weighting import compute_td_errors


@torch.no_grad()
def measure_critic(
    critic: Critic, dataset: Dataset, collate: CompletionCollator, batch_size: int = 512
) -> dict[str, Any]:
    """`critic_quality` of a critic on encoded rows with `token_error`, all of one length, EOS left out.

    EOS cannot be wrong; and a value head's TD error there reads the reward, which credit must not.
    """
    for model in critic.models():
        model.eval()
    values: list[torch.Tensor] = []
    credit: list[torch.Tensor] = []
    for start in range(0, len(dataset), batch_size):
        rows = [dataset[i] for i in range(start, min(start + batch_size, len(dataset)))]
        batch = TokenBatch.from_inputs(collate(rows), n_future=1)
        judged = critic.judge(batch)
        assert batch.rewards is not None, "the collator always gives rewards"
        given = judged.credit
        if given is None:
            given = compute_td_errors(judged.values[..., None], batch.rewards, batch.mask)
        values.append(judged.values[batch.mask].view(len(rows), -1)[:, :-1])
        credit.append(given[batch.mask].view(len(rows), -1)[:, :-1])
    errors = np.array(dataset["token_error"], dtype=bool)[:, :-1]
    quality = critic_quality(
        values=torch.cat(values).numpy(),
        credit=torch.cat(credit).numpy(),
        outcomes=np.array(dataset["reward"]) > 0.5,
        token_error=errors,
        mask=np.ones_like(errors),
    )
    return quality.as_dict()
