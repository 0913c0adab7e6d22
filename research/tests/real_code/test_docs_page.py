"""research/docs/real-code.md is made from the results that are kept, and its arithmetic by the script that it names."""

import json
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "research" / "docs"
PAGE = DOCS / "real-code.md"
PICTURES = re.findall(r"\(images/real-code-(\w+)\.svg\)", PAGE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def results():
    return json.loads((DOCS / "results" / "real-code.json").read_text())


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(ROOT / "research" / "real_code" / "docs_page.py"))


def test_what_is_measured_is_made_from_the_results(script, results):
    page = PAGE.read_text(encoding="utf-8")
    assert script["insert"](page, script["measured"](results, PICTURES)) == page


def test_its_pictures_are_those_of_the_results(script, results, tmp_path):
    assert PICTURES
    for name, path in script["write_pictures"](results, tmp_path).items():
        kept = DOCS / "images" / path.name
        assert kept.read_text() == path.read_text(), name


def test_the_rows_of_its_tables_are_the_configurations(results):
    critics = {path.stem for path in (ROOT / "research" / "real_code" / "configs" / "critics").glob("*.yaml")}
    methods = set(results["critics"]["all"]["localisation"])
    assert critics <= methods
    students = {path.stem for path in (ROOT / "research" / "real_code" / "configs" / "students").glob("*.yaml")}
    assert students <= set(results["students"]["all"]["students"])


def test_the_arithmetic_is_that_of_the_script():
    table = runpy.run_path(str(ROOT / "research" / "real_code" / "one_gpu.py"))["table"]()
    assert f"<!-- gpu:begin -->\n{table}\n<!-- gpu:end -->" in PAGE.read_text(encoding="utf-8")


def test_the_arithmetic_holds_for_a_decoder_that_is_counted():
    """A tiny Llama: adapters of rank 16 on its seven linear maps a layer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from weighted_mtp.models import MTPModel

    module = runpy.run_path(str(ROOT / "research" / "real_code" / "one_gpu.py"))
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    model = MTPModel(LlamaForCausalLM(LlamaConfig(vocab_size=16, **sizes, **heads)))
    model.add_lora(module["RANK"], 16.0)
    counted = sum(p.numel() for name, p in model.named_parameters() if ".lora_" in name)
    assert module["Decoder"]("tiny", 0, 3, 32, 48, 16).adapters == counted
