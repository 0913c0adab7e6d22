"""A ranking within a prompt learns from pairs: rows without any are refused, batches without any are told."""

import json
import logging
import re

import pytest

from weighted_mtp.training.errors import ConfigError
from weighted_mtp.training.run import warn_of_missing_pairs


@pytest.fixture(scope="module")
def files(rows, tmp_path_factory):
    """Every one of 10 prompts once, with a right and a wrong completion."""
    folder = tmp_path_factory.mktemp("pairs")
    table = [json.loads(line) for line in rows["train"].read_text().splitlines()]
    alone = list({row["prompt"]: row for row in table}.values())[:10]
    for i, row in enumerate(alone):
        row["label"] = i % 2 == 0
    made = {"alone": alone, "paired": [*alone, *(row | {"label": not row["label"]} for row in alone)]}
    for name, some in made.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    return {name: str(folder / f"{name}.jsonl") for name in made}


@pytest.mark.parametrize("stage", ["critic", "verifiable"])
def test_rows_without_a_prompt_that_has_both_outcomes_rank_nothing(prepare, files, stage):
    with pytest.raises(ConfigError, match="none of the 10 rows shares its prompt with a row of the other label"):
        prepare(stage, train_file=files["alone"], value_loss="pairwise")
    assert prepare(stage, train_file=files["alone"], value_loss="bce")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"value_loss": "pairwise", "per_device_train_batch_size": 6}, r"nothing from \d of the first 4 batches"),
        ({"value_loss": "pairwise", "per_device_train_batch_size": 40}, None),
        ({"value_loss": "pairwise", "per_device_train_batch_size": 2, "sampler": "pairs"}, None),
        ({"value_loss": "bce", "per_device_train_batch_size": 2}, None),
    ],
    ids=["shuffled", "whole", "pairs", "bce"],
)
def test_batches_without_a_pair_are_told_in_a_line_that_names_the_sampler(prepare, files, caplog, settings, told):
    run = prepare("critic", train_file=files["paired"], **settings)
    with caplog.at_level(logging.WARNING):
        warn_of_missing_pairs(run.trainer)
    lines = [record.getMessage() for record in caplog.records if "pairwise" in record.getMessage()]
    assert len(lines) == (told is not None)
    if told is not None:
        assert re.search(told, lines[0])
        assert lines[0].endswith("give --sampler pairs")


def test_a_ranking_that_no_batch_teaches_is_refused(prepare, files):
    run = prepare("critic", train_file=files["paired"], value_loss="pairwise", per_device_train_batch_size=1)
    with pytest.raises(ConfigError, match=r"nothing from any of the first 20 batches.*--sampler pairs"):
        warn_of_missing_pairs(run.trainer)
