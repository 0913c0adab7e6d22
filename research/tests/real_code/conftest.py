"""Made code and a tiny model for the tests of the experiment on real code, once a session."""

from typing import Any

import pytest

from research.tests.real_code.made_code import made_rows, save_tiny_model, small_tokenizer, write_rows


@pytest.fixture(scope="session")
def code_tokenizer() -> Any:
    return small_tokenizer()


@pytest.fixture(scope="session")
def code_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny Llama."""
    return save_tiny_model(tmp_path_factory.mktemp("code") / "model")


@pytest.fixture(scope="session")
def code_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Rows of 20 tasks."""
    return write_rows(tmp_path_factory.mktemp("code") / "made.jsonl", made_rows())


@pytest.fixture(scope="session")
def code_rows(code_file: str, code_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The rows as the experiment chooses and splits them."""
    from research.real_code.rows import Selection, prepare_rows

    out = tmp_path_factory.mktemp("prepared")
    return prepare_rows(Selection([code_file], max_length=120, rows_per_label=2), code_tokenizer, out)
