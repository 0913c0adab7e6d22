"""`wmtp inspect --page` on real runs of every stage: its numbers are those of the models, and it serves only itself."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml

from weighted_mtp.cli.main import main
from weighted_mtp.data import CompletionCollator, load_rows, tokenize_rows
from weighted_mtp.evaluation.calibration import expected_calibration_error
from weighted_mtp.inspection.record import read_record
from weighted_mtp.losses import mtp_nll
from weighted_mtp.models import MTPModel, load_tokenizer
from weighted_mtp.reports.layout import page_server
from weighted_mtp.training.batch import TokenBatch
from weighted_mtp.training.checkpoints import mark_complete
from weighted_mtp.training.config import RunConfig
from weighted_mtp.training.critics.table import load_critic

HEADS = 3
RUNS: dict[str, tuple[str, dict[str, Any]]] = {  # name: stage, settings; a value that is a run's name is its directory
    "baseline": ("baseline", {"n_future": HEADS, "eval_file": "eval.jsonl"}),
    "value_head": ("critic", {}),
    "generative": ("critic", {"critic": "generative"}),
    "implicit": ("critic", {"critic": "implicit"}),
    "td": ("verifiable", {"model_name_or_path": "value_head", "eval_file": "eval.jsonl"}),
    "log_odds": ("verifiable", {"critic": "@generative", "scheme": "log_odds", "n_future": 2}),
    "rho1": ("rho1", {"reference": "baseline"}),
}


class Card(NamedTuple):
    """A completion on the page: its row, and the data of its tokens."""

    row: int
    tokens: list[dict[str, str]]


@pytest.fixture(scope="module")
def runs(chain_base: Path, store: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of every stage and kind of critic, three steps each, with one MLflow store."""
    root = tmp_path_factory.mktemp("runs")
    for name, (stage, settings) in RUNS.items():
        flags: dict[str, Any] = {
            "model_name_or_path": chain_base / "base",
            "train_file": chain_base / "train.jsonl",
            "output_dir": root / name,
            "tracking_uri": store,
            "max_steps": 3,
            "learning_rate": 3e-3,
            "logging_steps": 1,
            "save_steps": 0,
        }
        for key, value in settings.items():
            places = {"model_name_or_path": root, "reference": root, "eval_file": chain_base}
            flags[key] = places[key] / value if key in places else str(value).replace("@", f"{root}/")
        words = [f"--{key}={value}" for key, value in flags.items()]
        assert main(["train", stage, *words]) == 0
    return root


@pytest.fixture(scope="module")
def page(runs: Path) -> str:
    """All of them on one page."""
    path = runs / "all.html"
    assert main(["inspect", *(str(runs / name) for name in RUNS), "--page", str(path), "--count", "6"]) == 0
    return path.read_text()


def cards(page: str, run: str) -> list[Card]:
    found = re.findall(rf'data-arm="{run}" data-row="(\d+)">(.*?)</li>', page, re.DOTALL)
    spans = [(int(row), re.findall(r'<span class="t ([^>]*)>', body)) for row, body in found]
    return [Card(row, [dict(re.findall(r'data-(\w+)="([^"]*)"', s)) for s in tokens]) for row, tokens in spans]


def numbers(text: str) -> list[float]:
    return [float(part.replace("\N{MINUS SIGN}", "-")) for part in text.split()]


def batch_of(chain_base: Path, row: int, n_future: int) -> TokenBatch:
    tokenizer = load_tokenizer(str(chain_base / "base"))
    rows, _ = load_rows(chain_base / "train.jsonl")
    dataset, _ = tokenize_rows(rows, tokenizer)
    collated = CompletionCollator.from_tokenizer(tokenizer)([dataset[row]])
    return TokenBatch.from_inputs(collated, n_future)


def one_error(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([str(word) for word in words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_every_run_shows_as_many_right_as_wrong_completions(page: str):
    for run in RUNS:
        labels = re.findall(rf'data-label="(\w+)" data-arm="{run}"', page)
        assert sorted(labels) == ["right"] * 3 + ["wrong"] * 3


def test_the_loss_of_each_head_is_that_of_mtp_nll(page: str, runs: Path, chain_base: Path):
    model = MTPModel.from_pretrained(runs / "baseline").eval()
    for card in cards(page, "baseline")[:2]:
        batch = batch_of(chain_base, card.row, HEADS)
        with torch.no_grad():
            hidden = model(batch.input_ids, batch.attention_mask)["hidden_states"]
        nll = mtp_nll(hidden, targets=batch.targets, **model.output_head())[0]
        for t, token in zip(batch.mask[0].nonzero()[:, 0].tolist(), card.tokens, strict=True):
            expected = [nll[t - k, k].item() for k in range(HEADS)]
            assert numbers(token["loss"]) == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize(
    ("run", "critic"), [("generative", "generative"), ("implicit", "implicit"), ("log_odds", "generative")]
)
def test_credit_and_values_are_those_of_the_critic(page: str, runs: Path, chain_base: Path, run: str, critic: str):
    judge = load_critic(str(runs / critic))
    for card in cards(page, run)[:2]:
        batch = batch_of(chain_base, card.row, 1)
        values, credit = judge.judge(batch)
        assert credit is not None
        shown = [numbers(f"{token['credit']} {token['value']}") for token in card.tokens]
        expected = torch.stack([credit[0], values[0]], dim=1)[batch.mask[0]].tolist()
        np.testing.assert_allclose(shown, expected, atol=6e-4)


def test_only_runs_that_know_them_show_values_and_credit(page: str):
    known = {run: {name for card in cards(page, run) for token in card.tokens for name in token} for run in RUNS}

    assert {run for run in RUNS if "value" in known[run]} == {*RUNS} - {"baseline", "rho1"}
    assert {run for run in RUNS if "credit" in known[run]} == {"generative", "implicit", "log_odds"}
    assert all("loss" in known[run] for run in RUNS)


def test_calibration_is_that_of_the_evaluation_rows_where_there_are_some(page: str, runs: Path, chain_base: Path):
    assert "24 evaluation rows of eval.jsonl" in page
    assert "96 training rows of train.jsonl" in page
    tokenizer, critic = load_tokenizer(str(runs / "td")), load_critic(str(runs / "td"))
    dataset, _ = tokenize_rows(load_rows(chain_base / "eval.jsonl")[0], tokenizer)
    batch = TokenBatch.from_inputs(CompletionCollator.from_tokenizer(tokenizer)([*dataset]), 1)
    before_eos = batch.mask.clone()
    before_eos[torch.arange(24), batch.mask.shape[1] - 1 - batch.mask.flip(1).int().argmax(1)] = False
    assert batch.rewards is not None
    outcomes = batch.rewards[:, None].expand(batch.mask.shape)[before_eos]
    ece = expected_calibration_error(critic.judge(batch).values[before_eos].numpy(), outcomes.numpy())

    (shown,) = re.findall(r">td <small>24 evaluation rows.*?</th><td[^>]*>([\d.]+)", page)
    assert float(shown) == pytest.approx(ece, abs=6e-4)


def test_curves_and_the_table_have_what_the_runs_logged(page: str):
    assert "No record was found" not in page
    assert {"explained variance", "cross-entropy, head 2", "spread of weights"} <= {
        *re.findall(r"<text[^>]*>([^<]+)", page)
    }
    (steps,) = re.findall(r">optimizer steps</th>(.*?)</tr>", page)
    assert re.findall(r">(\d+)<", steps) == ["3"] * len(RUNS)


def test_a_run_without_a_record_is_shown_all_the_same(runs: Path, tmp_path: Path):
    shutil.copytree(runs / "td", tmp_path / "td")
    (tmp_path / "td" / "mlflow_run_id.txt").unlink()

    assert main(["inspect", str(tmp_path / "td"), "--page", "--rows", "[3]"]) == 0
    page = (tmp_path / "td" / "page.html").read_text()
    assert [card.row for card in cards(page, "td")] == [3]
    assert 'id="run-curves"' not in page


def test_without_mlflow_the_record_is_that_of_the_newest_whole_checkpoint(runs: Path, tmp_path: Path):
    for step, loss in ((2, 1.5), (3, 0.5)):
        checkpoint = tmp_path / f"checkpoint-{step}"
        checkpoint.mkdir()
        log = [{"step": 1, "loss": 2.5, "epoch": 0.1}, {"step": step, "loss": loss}, {"step": step, "eval_loss": 3.0}]
        (checkpoint / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    mark_complete(tmp_path / "checkpoint-2")
    record = read_record(tmp_path, RunConfig.load(runs / "td"))

    assert record["train/loss"] == ([1, 2], [2.5, 1.5])
    assert record["eval/loss"] == ([2], [3.0])


def test_only_rows_of_the_wanted_label_are_shown(runs: Path, tmp_path: Path):
    path = tmp_path / "wrong.html"

    assert main(["inspect", str(runs / "td"), "--page", str(path), "--label", "wrong", "--count", "2"]) == 0
    assert re.findall(r'data-label="(\w+)"', path.read_text()) == ["wrong"] * 2


def test_what_cannot_be_inspected_is_told_before_anything_is_computed(capsys, runs: Path, tmp_path: Path):
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    shutil.copy(runs / "td" / "run.yaml", unfinished)
    (tmp_path / "results.json").write_text('{"arms": []}')
    (tmp_path / "report.html").touch()

    assert "holds no finished model" in one_error(capsys, "inspect", runs / "td", unfinished, "--page")
    assert "of a `wmtp train` run" in one_error(capsys, "inspect", runs, "--page")
    assert f"look at {tmp_path}/report.html" in one_error(capsys, "inspect", runs / "td", tmp_path, "--page")
    assert "given twice" in one_error(capsys, "inspect", runs / "td", runs / "td", "--page")
    assert not (runs / "td" / "page.html").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("a", "b"), "add --page"),
        (("--page", "a", "b"), "runs come first"),
        (("a", "--page", "b"), "ends with .html"),
        (("a", "--port", "80"), "--serve"),
        (("a", "--serve", "--port", "70000"), "65535"),
        (("a", "--count", "0"), "at least 1"),
    ],
)
def test_flags_that_do_not_fit_are_one_error(capsys, words: tuple[str, ...], said: str):
    assert said in one_error(capsys, "inspect", *words)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """A served page."""
    page = tmp_path / "page.html"
    page.write_text("<!doctype html>이 쪽")
    with page_server(page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def ask(port: int, method: str, path: str, host: str = "127.0.0.1") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, headers={"Host": host})
    answer = connection.getresponse()
    status, body = answer.status, answer.read()
    connection.close()
    return status, body


def test_the_server_gives_the_page_and_nothing_else(port: int):
    assert ask(port, "GET", "/") == ask(port, "GET", "/page.html") == (200, "<!doctype html>이 쪽".encode())
    for path in ("/run.yaml", "/../page.html", "/page.html/", "/?x"):
        assert ask(port, "GET", path)[0] == 404
    assert ask(port, "POST", "/")[0] == 501
    assert ask(port, "GET", "/", host="evil.example")[0] == 421


def test_a_port_that_is_taken_is_one_error(port: int, tmp_path: Path):
    with pytest.raises(ValueError, match="leave --port out"):
        page_server(tmp_path / "page.html", port)


def test_serve_prints_its_address_and_ends_with_ctrl_c(runs: Path, tmp_path: Path, capsys):
    reading, writing = os.pipe()
    answers: list[tuple[int, bytes]] = []

    def ask_then_interrupt() -> None:
        with open(reading) as printed:
            ports = re.findall(r"http://127\.0\.0\.1:(\d+)/", printed.readline())
            try:
                answers.extend(ask(int(port), "GET", "/") for port in ports)
            finally:
                if ports:
                    os.kill(os.getpid(), signal.SIGINT)

    asking = threading.Thread(target=ask_then_interrupt)
    asking.start()
    with open(writing, "w") as out, contextlib.redirect_stdout(out):
        words = ["inspect", str(runs / "td"), "--count", "1", "--page", str(tmp_path / "td.html"), "--serve"]
        ended = main(words)
    asking.join()

    ((status, body),) = answers
    assert status == 200
    assert b"Token by token" in body
    assert (ended, capsys.readouterr().err.strip().splitlines()) == (130, ["wmtp: stopped"])


def moved_run(runs: Path, tmp_path: Path, name: str, **changed: Any) -> Path:
    """A copy of a run elsewhere, its run.yaml changed."""
    folder = tmp_path / "elsewhere"
    shutil.copytree(runs / name, folder)
    flat = yaml.safe_load((folder / "run.yaml").read_text()) | changed
    (folder / "run.yaml").write_text(yaml.safe_dump({k: v for k, v in flat.items() if v is not ...}))
    return folder


@pytest.mark.parametrize(
    "changed",
    [
        {"trainer_args": {"fsdp": "full_shard", "deepspeed": "zero3.json", "tf32": True, "report_to": "wandb"}},
        {"loss_backend": "liger", "optim": "adamw_bnb_8bit", "lr_scheduler_type": "cosine_with_min_lr"},
        {"save_total_limit": 1, "trainer_args": {"no_such_field": 1}},
        {"tokenizer_name_or_path": "/gone", "model_name_or_path": "/gone", "tracking_uri": "http://127.0.0.1:9"},
        {"gamma": ..., "output_dir": ...},
        {"dtype": "float16"},
    ],
    ids=["other machines", "other packages", "other versions", "gone starts", "missing settings", "half"],
)
def test_a_run_made_elsewhere_is_looked_at(capsys, runs: Path, tmp_path: Path, changed: dict[str, Any]):
    folder = moved_run(runs, tmp_path, "td", **changed)
    assert main(["inspect", str(folder), "--count", "1"]) == 0
    assert capsys.readouterr().out


def test_settings_of_another_version_are_passed_over_in_one_line(caplog, runs: Path, tmp_path: Path):
    folder = moved_run(runs, tmp_path, "td", packing_of_2031=True, resumed_with_changes=[])
    RunConfig.load(folder)
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder}/run.yaml has settings that this version does not know: packing_of_2031"
    ]


@pytest.mark.parametrize(("name", "value"), [("max_length", "1024"), ("output_dir", 5), ("gamma", True)])
def test_a_setting_of_another_kind_is_one_error(capsys, runs: Path, tmp_path: Path, name: str, value: Any):
    folder = moved_run(runs, tmp_path, "td", **{name: value})
    assert f"run.yaml: {name} is {value!r}" in one_error(capsys, "inspect", folder)


def test_a_model_that_is_older_than_its_run_yaml_is_told(caplog, runs: Path, tmp_path: Path):
    folder = moved_run(runs, tmp_path, "td", learning_rate=1.0)
    assert main(["inspect", str(folder), "--count", "1"]) == 0
    rate = yaml.safe_load((runs / "td" / "run.yaml").read_text())["learning_rate"]
    told = [record.getMessage() for record in caplog.records if "other settings" in record.getMessage()]
    assert told == [
        f"{folder}: the model was made with other settings than its run.yaml says: learning_rate {rate}, not 1.0"
    ]


@pytest.mark.parametrize("text", ["", "- a", "a: [", "max_steps: 3", "stage: baseline\nmodel_name_or_path: x"])
def test_a_file_that_is_no_configuration_is_one_error(capsys, runs: Path, tmp_path: Path, text: str):
    folder = moved_run(runs, tmp_path, "td")
    (folder / "run.yaml").write_text(text)
    assert "run.yaml" in one_error(capsys, "inspect", folder)


@pytest.mark.parametrize(
    ("name", "setting"), [("td", "train_file"), ("td", "eval_file"), ("log_odds", "critic"), ("rho1", "reference")]
)
def test_what_a_run_read_and_is_gone_is_asked_for_by_its_flag(
    capsys, runs: Path, tmp_path: Path, name: str, setting: str
):
    where = yaml.safe_load((runs / name / "run.yaml").read_text())[setting]
    folder = moved_run(runs, tmp_path, name, **{setting: "/gone/for/good"})
    assert f"--{setting}" in one_error(capsys, "inspect", folder)
    assert main(["inspect", str(folder), "--count", "1", f"--{setting}", where]) == 0


def test_the_start_of_an_implicit_critic_is_asked_for_as_its_reference(
    capsys, runs: Path, chain_base: Path, tmp_path: Path
):
    folder = moved_run(runs, tmp_path, "implicit", model_name_or_path="/gone")
    assert "--reference" in one_error(capsys, "inspect", folder)
    words = ["--count", "1", "--reference", str(chain_base / "base")]
    assert main(["inspect", str(folder), *words]) == 0
