"""Every function of the folder, private ones too, gets and gives the shapes that its signature states."""

import subprocess
import sys

SCRIPT = """
from jaxtyping import install_import_hook
with install_import_hook("weighted_mtp.losses", "beartype.beartype"):
    from weighted_mtp import losses
import torch

labels = torch.tensor([[-100, 1, 2, 3], [-100, -100, 0, 4]])
targets = losses.mtp_targets(labels, 2, torch.ones_like(labels))
for dtype, softcap in ((torch.float32, None), (torch.bfloat16, 3.0), (torch.float64, None)):
    hidden = torch.randn(2, 4, 2, 3, dtype=dtype, requires_grad=True)
    weight = torch.randn(5, 3, dtype=dtype, requires_grad=True)
    options = dict(bias=torch.zeros(5), softcap=softcap)
    for normalizer in ("tokens", "weights", 3.0, torch.tensor(3)):
        weights = torch.rand(targets.shape)
        out = losses.weighted_mtp_loss(
            hidden, weight, targets, weights, head_weights=[1.0, 0.5], normalizer=normalizer, **options
        )
        out.loss.backward()
    losses.mtp_nll(hidden, weight, targets, **options)
values, returns, mask = torch.rand(3, 2, 4).unbind()
mask = mask > 0.5
for normalizer in (None, 2.0, torch.tensor(2)):
    losses.value_mse(values, returns, mask, normalizer=normalizer)
    losses.value_bce(values, returns, mask, normalizer=normalizer)
    losses.value_clipped_mse(values, returns, returns, mask, normalizer=normalizer)
    losses.pairwise_ranking(values, returns[:, 0], torch.tensor([1, 1]), mask, normalizer=normalizer)
"""


def test_shapes_and_types_hold_under_beartype():
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)
