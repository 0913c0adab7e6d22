"""Nothing in the configurations of the experiments goes unread."""

from pathlib import Path

import pytest
import yaml

from research.chains.study_arms import ALL_ARMS
from weighted_mtp.data.chains import Chains
from weighted_mtp.demo.draw import Budget, Draw
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.early_checks import require_all_read

CONFIGS = sorted((Path(__file__).parents[1] / "real_code" / "configs").glob("*/*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_a_configuration_holds_nothing_that_is_not_read(path: Path):
    filled = {"train_file": "t", "eval_file": "e", "output_dir": "o"} | yaml.safe_load(path.read_text())
    require_all_read(RunConfig.from_flat(filled))


def test_the_arms_of_the_study_are_runs_that_wmtp_train_takes(tmp_path: Path):
    draw = Draw("low_success", Chains([], [], []), 0, tmp_path, "none", Budget())
    for arm in ALL_ARMS.values():
        require_all_read(draw.config(arm))
