"""The commands of the experiments: a mistake is one line, told without torch; one writer at a time on an output."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from tests.test_two_writers import GIVEN
from weighted_mtp.files import own_file, own_folder

DOCTESTS, STUDY, REAL_CODE = ("research.doctests.__main__", "research.chains.study", "research.real_code.__main__")
ON_POLICY, REAL_TEACHER = "research.on_policy.__main__", "research.real_teacher.__main__"
OWN_SMOLLM2 = "research.own_smollm2.__main__"
CONFIGS = str(Path(__file__).parents[1] / "real_code" / "configs")
BELOW_FILE = "is rows.jsonl/new, but rows.jsonl is no folder"
MISTAKES = {
    (DOCTESTS, "--packages [heapq] --out folder"): "out is folder, which is a folder",
    (DOCTESTS, "--package [a]"): "did you mean packages?",
    (STUDY, "--out rows.jsonl/new"): f"--out {BELOW_FILE}",
    (STUDY, "--drwas 1"): "did you mean draws?",
    (ON_POLICY, "--out rows.jsonl/new"): f"--out {BELOW_FILE}",
    (ON_POLICY, "--tasks [sums]"): "--tasks holds sums: give some of arithmetic, strings, states",
    (ON_POLICY, "--draws 0"): "--draws is 0: give at least 1",
    (ON_POLICY, "--part rest"): "rest",
    (REAL_TEACHER, "--out out"): "--data is missing: name the folder that holds the traces",
    (REAL_TEACHER, "--data rows.jsonl"): "--data is rows.jsonl, which is no folder",
    (REAL_TEACHER, "--data folder --part dyk"): "dyk",
    (REAL_TEACHER, "--data folder --draws 0"): "--draws is 0: give at least 1",
    (OWN_SMOLLM2, "--out rows.jsonl/new"): f"--out {BELOW_FILE}",
    (OWN_SMOLLM2, "--draws 0"): "--draws is 0: give at least 1",
    (REAL_CODE, "--out rows.jsonl/new"): f"out {BELOW_FILE}",
    (REAL_CODE, "--configs folder"): "folder/critics holds no .yaml",
    (REAL_CODE, "--configs unread"): (
        "unread/critics/value.yaml: prior is 'head', which nothing reads in stage critic"
    ),
    (REAL_CODE, "--configs plan --data [none.jsonl]"): "none.jsonl: no such file",
    (REAL_CODE, "--job 1"): "did you mean jobs?",
}
WRITERS = {
    "doctests": (own_file, DOCTESTS, ["--out", "out", "--packages", '["toolz"]']),
    "study": (own_folder, STUDY, ["--out", "out"]),
    "on_policy": (own_folder, ON_POLICY, ["--out", "out"]),
    "real_teacher": (own_folder, REAL_TEACHER, ["--out", "out", "--data", "."]),
    "own_smollm2": (own_folder, OWN_SMOLLM2, ["--out", "out"]),
    "real_code": (own_folder, REAL_CODE, ["--out", "out", "--configs", CONFIGS, "--data", '["rows.jsonl"]']),
}
_EVERY = """
import contextlib, importlib, io, json, sys
for module, line in json.load(sys.stdin):
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        status = importlib.import_module(module).main(line.split())
    heavy = [name for name in ("torch", "transformers", "datasets", "mlflow") if name in sys.modules]
    print(json.dumps([status, err.getvalue(), heavy]))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], list]:
    """What each command line says: its status, its words, and which libraries were imported by then."""
    place = tmp_path_factory.mktemp("early")
    run = {"model_name_or_path": "model", "train_file": "rows.jsonl", "output_dir": "run"}
    for name, content in {
        "rows.jsonl": json.dumps({"prompt": "p", "completion": "c", "label": True}),
        "model/config.json": "{}",
        "plan/critics/value.yaml": yaml.safe_dump(run | {"stage": "critic"}),
        "unread/critics/value.yaml": yaml.safe_dump(run | {"stage": "critic", "prior": "head"}),
        "plan/students/plain.yaml": yaml.safe_dump(run | {"stage": "baseline"}),
        "folder/empty": "",
    }.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(content)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r})\n{_EVERY}"],
        input=json.dumps(list(MISTAKES)),
        cwd=place,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(MISTAKES, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("line", MISTAKES, ids=" ".join)
def test_what_can_be_known_without_torch_is_told_without_it(told, line: tuple[str, str]):
    status, err, heavy = told[line]
    assert (status, heavy) == (2, [])
    assert err.startswith(f"python -m {line[0].removesuffix('.__main__')}: error: ")
    assert err.count("\n") == 1
    assert MISTAKES[line] in err


@pytest.mark.parametrize(("owner", "module", "words"), WRITERS.values(), ids=WRITERS, indirect=["owner"])
def test_the_second_writer_ends_at_once_with_the_first_ones_name(owner, module, words, here, capsys):
    assert import_module(module).main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is being written by `" in line
    assert f"(pid {owner} on " in line
    written = {path.name for path in here.rglob("*") if path.is_file() and not path.name.endswith(".lock")}
    assert written == GIVEN
