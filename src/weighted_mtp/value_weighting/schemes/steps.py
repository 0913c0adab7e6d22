"""Step labels: a token counts by what its own step earned."""

from weighted_mtp.value_weighting.schemes.basic import Column


class Steps(Column):
    """The reward of the step that a token belongs to.

        w[t] = reward of the step of token t+1

    With labels of 1 and 0 the right steps of a wrong completion are learned, and its wrong ones are not. Whole batch =
    micro-batches = ranks.

    Source: Lightman et al. 2023, "Let's Verify Step by Step" (arXiv 2305.20050), for labels of steps; Uesato et al.
    2022 (arXiv 2211.14275) for training on them.

    Args:
        floor: as for `Column`, where a step's reward is negative.

    Examples:
        >>> import torch
        >>> from weighted_mtp.value_weighting import Signals, weigh
        >>> mask, steps = torch.tensor([[True, True, True]]), torch.tensor([[1.0, 1.0, 0.0]])
        >>> weigh(Steps(), Signals(mask=mask, valid=mask[..., None], steps=steps)).flatten().tolist()
        [1.0, 1.0, 0.0]
    """

    column = "steps"
