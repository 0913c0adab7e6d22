"""`wmtp convert export`, `add-heads` and `drop-heads`: models anew, whole or not at all."""

import json
import shutil
from base64 import b64decode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from tests.conftest import weights_in
from tests.models.former_layout import as_before
from tests.models.released import plain_tensors, release
from weighted_mtp.cli.main import main
from weighted_mtp.models import MTPModel, load_tokenizer
from weighted_mtp.models.sources import digest_of_model
from weighted_mtp.training.export import add_heads, drop_heads, export
from weighted_mtp.training.skill import SKILL, read_skill


@pytest.fixture
def critic(chain_base: Path, tmp_path: Path) -> Path:
    """A copy of a model with a value head and a tokenizer."""
    return Path(shutil.copytree(chain_base / "critic", tmp_path / "critic"))


def same(one: Path, other: Path) -> bool:
    a, b = weights_in(one), weights_in(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_directory_of_the_former_layout_becomes_one_of_now(critic, chain_base, tmp_path, capsys):
    as_before(critic)
    assert main(["convert", "export", str(critic), "--out", str(tmp_path / "new")]) == 0
    assert capsys.readouterr().out.endswith("1 head (n_future 1), a value head\n")
    assert same(tmp_path / "new", chain_base / "critic")
    load: Any = AutoModelForCausalLM.from_pretrained
    _, report = load(tmp_path / "new", output_loading_info=True)
    assert not any(report.values())
    assert load_tokenizer(tmp_path / "new").get_vocab() == load_tokenizer(critic).get_vocab()


def test_the_precision_is_of_all_but_the_value_head(critic, tmp_path):
    export(str(critic), str(tmp_path / "new"), "bfloat16")
    assert json.loads((tmp_path / "new" / "config.json").read_text())["dtype"] == "bfloat16"
    kinds = {name.startswith("value_head."): tensor.dtype for name, tensor in weights_in(tmp_path / "new").items()}
    assert kinds == {True: torch.float32, False: torch.bfloat16}


def test_the_decoder_is_cut_into_files_of_the_size_that_is_named(critic, tmp_path):
    export(str(critic), str(tmp_path / "new"), max_shard_size="200KB")
    assert len(list((tmp_path / "new").glob("model-*.safetensors"))) > 1
    assert torch.equal(
        MTPModel.from_pretrained(tmp_path / "new").value_head.weight,  # pyright: ignore
        weights_in(critic)["value_head.weight"],
    )


def test_values_beyond_a_precision_are_one_error_and_nothing_is_left(critic, tmp_path, capsys):
    model = MTPModel.from_pretrained(critic)
    with torch.no_grad():
        model.hf_model.lm_head.weight[0] = 1e6
    model.save_pretrained(critic)
    words = ["convert", "export", str(critic), "--out", str(tmp_path / "new"), "--dtype", "float16"]
    assert main(words) == 2
    assert "has values that float16 cannot hold: give another --dtype, or auto" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["critic"]


def test_the_model_card_says_what_was_trained_how_and_what_is_known_of_the_critic(train, tmp_path):
    settings = {"max_steps": 4, "eval_steps": 2, "save_steps": 2, "early_stopping_patience": 0}
    run = Path(train("critic", eval_share=0.1, **settings).args.output_dir)
    skill = {"verdict": "knows | little", "gate": 0.0, "critic": digest_of_model(run)}
    (run / SKILL).write_text(json.dumps(skill))
    export(str(run), str(tmp_path / "card"))
    _, header, text = (tmp_path / "card" / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(header)["library_name"] == "transformers"
    settings = yaml.safe_load((run / "run.yaml").read_text())
    for line in (
        f"| Data | {settings['train_file']} |",
        f"| Base | {settings['model_name_or_path']} |",
        "| Stage | critic |",
        f"| Scheme | {settings['scheme']} |",
        "| Skill of the critic | knows \\| little |",
        "On held-out rows, at step 4.",
        "| outcome_auc | ",
        "`wmtp train critic --config run.yaml`",
    ):
        assert line in text
    assert yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0]) == settings


def test_the_model_card_has_the_metrics_of_the_end_where_only_start_and_end_are_evaluated(train, tmp_path):
    run = train("critic", max_steps=3, save_steps=2, eval_share=0.1, early_stopping_patience=0)
    export(run.args.output_dir, str(tmp_path / "card"))
    assert "On held-out rows, at step 3." in (tmp_path / "card" / "README.md").read_text()
    assert [entry["step"] for entry in run.state.log_history if "eval_loss" in entry] == [0, 3]


def test_the_model_card_of_a_run_that_stopped_early_has_the_metrics_of_the_model_that_is_kept(train, tmp_path):
    worse = {"learning_rate": 0.5, "early_stopping_patience": 1, "best_metric": "ce_head_0"}
    run = train("baseline", max_steps=6, eval_steps=1, eval_share=0.1, **worse)
    assert run.state.best_global_step < run.state.global_step
    export(run.args.output_dir, str(tmp_path / "card"))
    card = (tmp_path / "card" / "README.md").read_text()
    assert f"On held-out rows, at step {run.state.best_global_step}." in card


@pytest.mark.parametrize(("dtype", "kept"), [("auto", True), ("bfloat16", False)])
def test_the_skill_of_a_critic_goes_along_while_it_is_the_same_critic(critic, tmp_path, dtype, kept):
    as_before(critic)
    (critic / SKILL).write_text(json.dumps({"verdict": "knows", "gate": 0.5, "critic": digest_of_model(critic)}))
    export(str(critic), str(tmp_path / "new"), dtype)
    found = read_skill(tmp_path / "new")
    assert (found is not None and found["gate"] == 0.5) == kept


def test_adapters_go_along(critic, tmp_path):
    model = MTPModel.from_pretrained(critic)
    model.add_lora(2)
    model.save_pretrained(critic)
    export(str(critic), str(tmp_path / "new"))
    files = [sorted(path.name for path in (folder / "adapter").iterdir()) for folder in (critic, tmp_path / "new")]
    assert files[0] == files[1] != []


def test_added_heads_are_fresh_and_dropped_ones_leave_the_decoder(critic, chain_base, tmp_path):
    add_heads(str(chain_base / "base"), str(tmp_path / "more"), n_future=3, value_head=True)
    model = MTPModel.from_pretrained(tmp_path / "more")
    assert model.n_future == 3
    assert not model.value_head.weight.any()  # pyright: ignore[reportOptionalMemberAccess]
    drop_heads(str(tmp_path / "more"), str(tmp_path / "plain"))
    assert not (tmp_path / "plain" / "weighted_mtp.safetensors").exists()
    assert same(tmp_path / "plain", chain_base / "base")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--n_future", "1"], "has n_future 1: give one above it"),
        (["--value_head", "true"], "has a value head"),
        ([], "no head is named: give --n_future N, --value_head true, or both"),
    ],
)
def test_heads_that_are_there_are_not_added(critic, tmp_path, capsys, words, said):
    assert main(["convert", "add-heads", str(critic), "--out", str(tmp_path / "new"), *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_size_without_a_unit_is_refused(critic, tmp_path, capsys):
    words = ["convert", "export", str(critic), "--out", str(tmp_path / "new"), "--max_shard_size", "5"]
    assert main(words) == 2
    assert "give a number and a unit, such as 5GB" in capsys.readouterr().err


class Hub(BaseHTTPRequestHandler):
    """As much of a hub as an upload asks: where files are to go, and the commit."""

    took: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[Any]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer: dict[str, Any] = {"errors": [], "warnings": []}  # of the card's header
        if self.path == "/api/repos/create":
            self.asked.append(json.loads(body))
            answer = {"url": "https://huggingface.co/me/critic", "name": "me/critic"}
        elif self.path.endswith("/preupload/main"):
            paths = [file["path"] for file in json.loads(body)["files"]]
            answer = {"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]}
        elif self.path.endswith("/commit/main"):
            parts = [json.loads(line) for line in body.splitlines()]
            files = [part["value"] for part in parts if part["key"] == "file"]
            self.took.update({file["path"]: b64decode(file["content"]) for file in files})
            answer = {"commitUrl": "https://huggingface.co/me/critic/commit/1", "commitOid": "1", "success": True}
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def test_a_pushed_model_is_the_folder_in_a_private_repository(critic, tmp_path, monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        told = export(str(critic), str(tmp_path / "new"), push="hub:me/critic")
        server.shutdown()
    assert told.endswith("pushed: https://huggingface.co/me/critic/commit/1")
    assert [(one["name"], one["organization"], one["visibility"]) for one in Hub.asked] == [("critic", "me", "private")]
    assert Hub.took == {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()}


def test_a_hub_that_does_not_answer_leaves_the_folder_and_says_how_to_go_on(critic, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    out = tmp_path / "new"
    assert main(["convert", "export", str(critic), "--out", str(out), "--push", "hub:me/critic"]) == 2
    said = capsys.readouterr().err
    assert f"{out} is written, but hub:me/critic did not take it: " in said
    assert said.endswith(f"hf upload me/critic {out}\n")
    assert same(out, critic)


def test_a_name_that_no_repository_has_is_refused(critic, tmp_path, capsys):
    assert main(["convert", "export", str(critic), "--out", str(tmp_path / "new"), "--push", "me/critic"]) == 2
    assert "--push is me/critic: give hub:OWNER/NAME" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [["export", "--dtype", "float32"], ["add-heads", "--n_future", "2"], ["drop-heads"]])
def test_multi_token_layers_of_a_checkpoint_go_along(tmp_path, kind):
    layers = release(tmp_path / "source", "glm4_moe")
    assert main(["convert", kind[0], str(tmp_path / "source"), "--out", str(tmp_path / "new"), *kind[1:]]) == 0
    saved = plain_tensors(tmp_path / "new")
    assert all(torch.equal(saved[name], tensor) for name, tensor in layers.items())
