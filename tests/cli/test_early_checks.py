"""A mistake that can be known without torch is told without it: all of them are made in one process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pyarrow
import pyarrow.parquet
import pytest
import yaml

ROW = {"prompt": "p", "completion": "c", "label": True}
TRAIN = "--model_name_or_path model --train_file rows.jsonl --output_dir new"
SCORE = "score --critic model --data rows.jsonl --out new"
EVALUATE = "evaluate model --problems problems.jsonl --verifier exact --out new"
NO_MODEL = "no model at 'nowhere': it does not exist"
NO_FILE = "none.jsonl: no such file"
NO_HUB = "no model at 'hub:owner/name': the hub at http://127.0.0.1:9 cannot be reached"
BELOW_FILE = "is rows.jsonl/new, but rows.jsonl is no folder"

MISTAKES = {
    f"train baseline {TRAIN} --train_file none.jsonl": NO_FILE,
    f"train baseline {TRAIN} --train_file rows.csv": "rows.csv: a file ending in .jsonl, .json, .parquet is needed",
    f"train baseline {TRAIN} --train_file empty.jsonl": "empty.jsonl: the file is empty",
    f"train baseline {TRAIN} --train_file blank.jsonl": "blank.jsonl: no row in it",
    f"train baseline {TRAIN} --train_file text.jsonl": "text.jsonl:1: is not JSON",
    f"train baseline {TRAIN} --train_file unlabelled.jsonl": "unlabelled.jsonl:1: no `label`",
    f"train baseline {TRAIN} --train_file unlabelled.json": "unlabelled.json:1: no `label`",
    f"train baseline {TRAIN} --train_file unlabelled.parquet": "unlabelled.parquet:1: no `label`",
    f"train baseline {TRAIN} --train_file text.parquet": "text.parquet: is not a Parquet file",
    f"train baseline {TRAIN} --train_file run": "run: is a folder",
    f"train baseline {TRAIN} --eval_file none.jsonl": NO_FILE,
    f"train baseline {TRAIN} --scheme column": "scheme column needs weights, and rows.jsonl has no such column",
    f"train baseline {TRAIN} --scheme column --train_file weighted.jsonl --eval_file rows.jsonl": (
        "scheme column needs weights, and rows.jsonl"
    ),
    f"train baseline {TRAIN} --model_name_or_path nowhere": NO_MODEL,
    f"train baseline {TRAIN} --model_name_or_path folder": "the directory has no config.json",
    f"train baseline {TRAIN} --model_name_or_path hub:owner/name": NO_HUB,
    f"train baseline {TRAIN} --tokenizer_name_or_path nowhere": NO_MODEL,
    f"train verifiable {TRAIN} --critic nowhere": NO_MODEL,
    f"train verifiable {TRAIN} --critic run --gamma .9": "the values of run were trained with gamma 1.0",
    f"train verifiable {TRAIN} --critic run --reference nowhere": NO_MODEL,
    f"train verifiable {TRAIN} --critic run --train_file valued.jsonl": "leave critic out to train by the column",
    f"train verifiable {TRAIN} --train_file valued.jsonl --eval_file rows.jsonl": (
        "valued.jsonl has a column `values` and rows.jsonl has none"
    ),
    f"train rho1 {TRAIN} --reference nowhere": NO_MODEL,
    f"train critic {TRAIN} --critic implicit --reference nowhere": NO_MODEL,
    f"train baseline {TRAIN} --output_dir rows.jsonl": "output_dir is rows.jsonl, but rows.jsonl is no folder",
    f"train baseline {TRAIN} --output_dir rows.jsonl/new": f"output_dir {BELOW_FILE}",
    f"train baseline {TRAIN} --output_dir run": "run already holds a run",
    f"train baseline {TRAIN} --resume none": "cannot resume from none",
    f"train baseline {TRAIN} --trainer_args.dataloader_num_worker 2": "did you mean dataloader_num_workers?",
    f"train baseline {TRAIN} --eval_strategy epoch": "--trainer_args.eval_strategy as a flag",
    f"train baseline {TRAIN} --label_smoothing_factor .1": "the loss is ours",
    f"train baseline {TRAIN} --metric_for_best_model loss": "give best_metric",
    f"train baseline {TRAIN} --eval_share .5 --trainer_args.eval_strategy no": "at the start and the end: leave",
    f"train baseline {TRAIN} --scheme lognorml": "unknown weighting scheme 'lognorml'; nearest is 'lognormal'",
    f"train baseline {TRAIN} --max_steps 0": "max_steps is 0: give 1 or more, or -1",
    f"train baseline {TRAIN} --lm_coef 0": "lm_coef is 0.0, which nothing reads in stage baseline",
    f"train verifiable {TRAIN} --critic run --value_coef 3": "which nothing reads in stage verifiable with a separate",
    f"train critic {TRAIN} --lm_coef 0 --value_coef 0": "lm_coef and value_coef are 0, so that nothing is learned",
    f"train baseline {TRAIN} --config none.yaml": "none.yaml: there is no such file",
    f"{SCORE} --scheme tdd": "unknown weighting scheme 'tdd'; nearest is 'td'",
    f"{SCORE} --data none.jsonl": NO_FILE,
    f"{SCORE} --data problems.jsonl": "problems.jsonl:1: no `completion`",
    f"{SCORE} --critic nowhere": NO_MODEL,
    f"{SCORE} --critic hub:owner/name": NO_HUB,
    f"{SCORE} --reference nowhere": NO_MODEL,
    f"{SCORE} --critic run --gamma .9": "the values of run were trained with gamma 1.0",
    f"{SCORE} --out rows.jsonl/new": f"out {BELOW_FILE}",
    f"{EVALUATE} --problems none.jsonl": NO_FILE,
    f"{EVALUATE} --problems rows.jsonl": "rows.jsonl: exact cannot check 1 of 1 problems: problem 0: no `answer`",
    f"{EVALUATE} --verifier python-tests": "cannot check 1 of 1 problems: problem 0: no `test`",
    f"{EVALUATE} --verifier reasoning-gym": "cannot check 1 of 1 problems: problem 0: no `entry`",
    f"{EVALUATE} --verifier exakt": "did you mean exact?",
    f"{EVALUATE} --timeout 3": "the verifier exact takes none",
    f"{EVALUATE.replace(' model', ' nowhere')}": NO_MODEL,
    f"{EVALUATE.replace(' model', ' hub:owner/name')}": NO_HUB,
    f"{EVALUATE} --out rows.jsonl/new": f"out {BELOW_FILE}",
    "inspect nowhere": "nowhere/run.yaml is not there",
    "inspect unfinished": "unfinished holds no finished model",
    "inspect moved": "say where it is now with --train_file",
    "inspect run --train_file unlabelled.jsonl": "unlabelled.jsonl:1: no `label`",
    "inspect nowhere --page": "nowhere/run.yaml is not there",
    "inspect study --page": "study holds results (results.json) and no run: look at study/report.html",
    "inspect evaluated": "call what wrote them again with this --out (wmtp evaluate, ",
    "inspect run run --page": "a run was given twice",
    "inspect run --page folder.html": "--page is folder.html, which is a folder",
    "generate nowhere --prompt p": NO_MODEL,
    "generate hub:owner/name --prompt p": NO_HUB,
    "generate hub:own/er/name --prompt p": "own/er/name",
    "data verify --verifier exact --input none.jsonl --output new.jsonl": NO_FILE,
    "data verify --verifier exact --input text.jsonl --output new.jsonl": "text.jsonl:1: is not JSON",
    "data verify --verifier exact --input rows.jsonl --output folder": "--output is folder, which is a folder",
    "data verify --verifier exact --input rows.jsonl --output new.jsonl": "no row has `answer`",
    "data mutants --input none.jsonl --out new.jsonl": NO_FILE,
    "data mutants --input rows.jsonl --out folder": "out is folder, which is a folder",
    "data mutants --input rows.jsonl --out new.jsonl": "no `canonical_solution`",
    "data doctests --packages [heapq] --out new": "`wmtp data doctests` is `python -m research.doctests` now",
    "data reasoning-gym --tasks [leg_counting] --out rows.jsonl/new": "out is rows.jsonl, but",
    "data split --input none.jsonl --out new": NO_FILE,
    "data split --input rows.jsonl --out new": "rows.jsonl: row 1 has no `task_id`",
    "data split --input rows.jsonl --out split": "split/fold1/train.jsonl is there already",
    "data split --input rows.jsonl --out rows.jsonl/new": f"out {BELOW_FILE}",
    "study --out new": "`wmtp study` is `python -m research.chains.study` now",
    "demo --out rows.jsonl/new": f"--out {BELOW_FILE}",
    "real-code --out new": "`wmtp real-code` is `python -m research.real_code` now",
}


class Told(NamedTuple):
    """What came of a command line."""

    status: int
    err: str
    heavy: list[str]
    """Libraries imported by then."""


_EVERY = """
import contextlib, io, json, sys
from weighted_mtp.cli.main import main
for line in json.load(sys.stdin):
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        status = main(line.split())
    heavy = [name for name in ("torch", "transformers", "datasets", "mlflow") if name in sys.modules]
    print(json.dumps([status, err.getvalue(), heavy]))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the command lines name."""
    root = tmp_path_factory.mktemp("early")
    weighted = ROW | {"weights": [1.0, 1.0]}
    unlabelled = {"prompt": "p", "completion": "c"}
    for name, content in {
        "rows.jsonl": json.dumps(ROW),
        "weighted.jsonl": json.dumps(weighted),
        "valued.jsonl": json.dumps(ROW | {"values": [0.5, 0.5]}),
        "rows.csv": "prompt,completion,label",
        "empty.jsonl": "",
        "blank.jsonl": "\n\n",
        "text.jsonl": "text",
        "text.parquet": "text",
        "unlabelled.jsonl": json.dumps(unlabelled),
        "unlabelled.json": json.dumps([unlabelled]),
        "problems.jsonl": json.dumps({"prompt": "p", "answer": "a"}),
        "model/config.json": "{}",
        "run/config.json": "{}",
        "run/run.yaml": _run("rows.jsonl"),
        "moved/config.json": "{}",
        "moved/run.yaml": _run("gone.jsonl"),
        "unfinished/run.yaml": _run("rows.jsonl"),
        "split/fold1/train.jsonl": "",
        "study/results.json": "{}",
        "study/report.html": "",
        "evaluated/results.json": "{}",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    for name in ("folder", "folder.html"):
        (root / name).mkdir()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([unlabelled]), root / "unlabelled.parquet")
    return root


def _run(train_file: str) -> str:
    names = {"model_name_or_path": "model", "train_file": train_file, "output_dir": "run"}
    return yaml.safe_dump({"stage": "baseline", **names})


@pytest.fixture(scope="module")
def told(place: Path) -> dict[str, Told]:
    """What each command line says; port 9, where nobody listens, is the hub."""
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", _EVERY],
        input=json.dumps(list(MISTAKES)),
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [Told(*json.loads(line)) for line in done.stdout.splitlines()]
    return dict(zip(MISTAKES, lines, strict=True))


@pytest.mark.parametrize("line", MISTAKES)
def test_what_can_be_known_without_torch_is_told_without_it(told: dict[str, Told], line: str):
    status, err, heavy = told[line]
    assert (status, heavy) == (2, [])
    err = "".join(one for one in err.splitlines(True) if "times: the last one counts" not in one)  # the lines do that
    assert err.startswith("wmtp: error: ")
    assert err.count("\n") == 1
    assert MISTAKES[line] in err


def test_a_mistake_leaves_nothing_behind(told: dict[str, Told], place: Path):
    assert not list(place.glob("new*"))
