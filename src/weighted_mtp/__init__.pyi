from .models.mtp_model import MTPModel
from .python.calls import Run, evaluate, score, train
from .training.critics.table import load_critic
from .training.trainer import WeightedMTPTrainer

IGNORED: int

__all__ = ["IGNORED", "MTPModel", "Run", "WeightedMTPTrainer", "evaluate", "load_critic", "score", "train"]
