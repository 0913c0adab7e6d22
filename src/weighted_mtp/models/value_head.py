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

        value_logits = w . x + b;    values = sigmoid(value_logits), or value_logits with link "identity"
        x = h, the hidden state, or with a hidden layer x = gelu(U h + c)

    w and b start at zero: every value is 0.5 (0 with "identity"), so a fresh critic claims nothing, and the
    first value gradient reaches only them and leaves the trunk as it was. Float32, because neighbouring values
    differ by less than bfloat16 can show, and small updates to bfloat16 weights round away.

    Args:
        hidden_size: dimension of h.
        link: "sigmoid" or "identity".
        hidden: units of the hidden layer, which starts as any nn.Linear; 0: none.
        device: of all weights.
    """

    def __init__(
        self, hidden_size: int, link: ValueLink = "sigmoid", hidden: int = 0, device: torch.device | None = None
    ):
        if link not in get_args(ValueLink):
            raise ValueError(f"value_link must be one of {', '.join(get_args(ValueLink))}, got {link!r}")
        if hidden < 0:
            raise ValueError(f"value_hidden must be at least 0, got {hidden}")
        super().__init__(hidden or hidden_size, 1, device=device, dtype=torch.float32)
        self.link: ValueLink = link
        self.hidden = nn.Linear(hidden_size, hidden, device=device, dtype=torch.float32) if hidden else None

    @property
    def hidden_units(self) -> int:
        """Units of the hidden layer; 0 of a linear head."""
        return 0 if self.hidden is None else self.hidden.out_features

    def reset_parameters(self) -> None:
        """Set w and b to zero."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, input: Shaped[Tensor, "*batch dim"]) -> Float[Tensor, "*batch 1"]:
        """Value logits in float32, also under autocast."""
        with torch.autocast(input.device.type, enabled=False):
            x = input.float()
            if self.hidden is not None:
                x = F.gelu(F.linear(x, self.hidden.weight.float(), self.hidden.bias.float()))
            return F.linear(x, self.weight.float(), self.bias.float())

    def values(self, value_logits: Float[Tensor, "*batch 1"]) -> Float[Tensor, "*batch 1"]:
        """Values of these logits under the head's link."""
        return value_logits.sigmoid() if self.link == "sigmoid" else value_logits
