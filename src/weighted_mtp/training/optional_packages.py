"""What settings need beyond our own dependencies: named with its pip command before anything heavy is imported."""

import importlib.util
from collections.abc import Sequence
from typing import Any, NamedTuple

from weighted_mtp.training.errors import ConfigError


class Package(NamedTuple):
    """A package that a choice needs: its import name, and what pip calls it."""

    module: str
    pip: str


_BITSANDBYTES = Package("bitsandbytes", "bitsandbytes")
_GALORE = Package("galore_torch", "galore-torch")
_IN_BACKWARD = (
    "updates within the backward pass, before the gradient's norm is known: neither clipping nor the stop at a broken "
    "gradient would work"
)
_SCHEDULE_FREE = "trains other weights than the averaged ones that should be saved"

OPTIMIZERS: dict[str, Package | str | None] = {
    "adamw_torch": None,
    "adamw_torch_fused": None,
    "adafactor": None,
    "sgd": None,
    "adagrad": None,
    "rmsprop": None,
    "adamw_torch_xla": Package("torch_xla", "torch_xla"),
    "adamw_torch_npu_fused": Package("torch_npu", "torch_npu"),
    "adamw_anyprecision": Package("torchdistx", "torchdistx"),
    "adamw_torch_4bit": Package("torchao", "torchao"),
    "adamw_torch_8bit": Package("torchao", "torchao"),
    **dict.fromkeys(
        (
            "ademamix", "adamw_bnb_8bit", "adamw_8bit", "ademamix_8bit", "lion_8bit", "lion_32bit", "paged_adamw_32bit",
            "paged_adamw_8bit", "paged_ademamix_32bit", "paged_ademamix_8bit", "paged_lion_32bit", "paged_lion_8bit",
            "rmsprop_bnb", "rmsprop_bnb_8bit", "rmsprop_bnb_32bit",
        ),
        _BITSANDBYTES,
    ),
    "galore_adamw": _GALORE,
    "galore_adamw_8bit": _GALORE,
    "galore_adafactor": _GALORE,
    "galore_adamw_layerwise": _IN_BACKWARD,
    "galore_adamw_8bit_layerwise": _IN_BACKWARD,
    "galore_adafactor_layerwise": _IN_BACKWARD,
    "lomo": _IN_BACKWARD,
    "adalomo": _IN_BACKWARD,
    "apollo_adamw": Package("apollo_torch", "apollo-torch"),
    "apollo_adamw_layerwise": _IN_BACKWARD,
    "grokadamw": Package("grokadamw", "grokadamw"),
    "stable_adamw": Package("optimi", "torch-optimi"),
    "schedule_free_radam": _SCHEDULE_FREE,
    "schedule_free_adamw": _SCHEDULE_FREE,
    "schedule_free_sgd": _SCHEDULE_FREE,
}  # fmt: skip
"""Each optimizer of transformers: works as it is (None), needs a package, or is refused with the reason."""

_MLFLOW = "is on by itself: set tracking_uri to the store, or to none to switch it off"
REPORTERS: dict[str, Package | str] = {
    "tensorboard": Package("tensorboard", "tensorboard"),
    "wandb": Package("wandb", "wandb"),
    "comet_ml": Package("comet_ml", "comet_ml"),
    "trackio": Package("trackio", "trackio"),
    "swanlab": Package("swanlab", "swanlab"),
    "clearml": Package("clearml", "clearml"),
    "neptune": Package("neptune", "neptune"),
    "dvclive": Package("dvclive", "dvclive"),
    "codecarbon": Package("codecarbon", "codecarbon"),
    "azure_ml": Package("azureml", "azureml-core"),
    "flyte": Package("flytekit", "flytekit"),
    "kubeflow": Package("kubeflow", "kubeflow"),
    "mlflow": f"mlflow {_MLFLOW}",
    "dagshub": f"dagshub is a store of MLflow, which {_MLFLOW}",
    "all": "all depends on what happens to be installed: name them, as [tensorboard, wandb]",
}  # fmt: skip
"""What `report_to` may name: needs a package, or is refused with the reason."""


def check_packages(optim: str, report_to: Sequence[str], deepspeed: Any = None) -> None:
    """Raises where an optimizer or a reporter needs a package that is not installed, or cannot be had.

    Names that are in no table are left to transformers, which lists its own.

    Raises:
        ConfigError: names the package and the pip command, or the reason.
    """
    _check(f"optim is {optim}", "it ", OPTIMIZERS.get(optim))
    for name in report_to:
        if name not in REPORTERS:
            known = ", ".join(known for known, entry in REPORTERS.items() if isinstance(entry, Package))
            raise ConfigError(f"report_to is {name!r}: give one or several of {known}, or none")
        _check(f"report_to is {name}", "", REPORTERS[name])
    if deepspeed:
        _check("deepspeed is set", "", Package("deepspeed", "deepspeed"))


def _check(what: str, subject: str, entry: Package | str | None) -> None:
    if isinstance(entry, str):
        raise ConfigError(f"{what}: {subject}{entry}")
    if entry is not None and importlib.util.find_spec(entry.module) is None:
        raise ConfigError(f"{what}, but {entry.module} is not installed: pip install {entry.pip}")
