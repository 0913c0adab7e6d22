"""What tests of another folder make: a trained critic and rows."""

from tests.training.conftest import critic_dir, prepare, rows, train

__all__ = ["critic_dir", "prepare", "rows", "train"]
