"""The value head: P(success | prefix) from a decoder's hidden state."""

from typing import Literal, get_args

import torch
import torch.nn as nn
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

ValueLink = Literal["sigmoid", "identity"]


class ValueHead(nn.Linear):
    """One linear unit on the hidden state of head 0, with weights and arithmetic in float32.

        value_logits = w . h + b;    values = sigmoid(value_logits), or value_logits with link "identity"

    It starts at zero: every value is 0.5 (0 with "identity"), so a fresh critic claims nothing, and the first
    value gradient reaches only this head and leaves the trunk as it was. Float32, because neighbouring values
    differ by less than bfloat16 can show, and small updates to bfloat16 weights round away.
    """

    def __init__(self, hidden_size: int, link: ValueLink = "sigmoid", device: torch.device | None = None):
        if link not in get_args(ValueLink):
            raise ValueError(f"value_link must be one of {', '.join(get_args(ValueLink))}, got {link!r}")
        super().__init__(hidden_size, 1, device=device, dtype=torch.float32)
        self.link: ValueLink = link

    def reset_parameters(self) -> None:
        """Set weight and bias to zero."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, input: Shaped[Tensor, "*batch dim"]) -> Float[Tensor, "*batch 1"]:
        """Value logits in float32, also under autocast."""
        with torch.autocast(input.device.type, enabled=False):
            return F.linear(input.float(), self.weight.float(), self.bias.float())

    def values(self, value_logits: Float[Tensor, "*batch 1"]) -> Float[Tensor, "*batch 1"]:
        """Values of these logits under the head's link."""
        return value_logits.sigmoid() if self.link == "sigmoid" else value_logits
