import json
import traceback
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from weighted_mtp.data import DataError, load_rows, tokenize_rows

ROWS = [
    {"prompt": "a", "completion": "b", "label": True, "task_id": "t0", "weights": [1.0, 2.0]},
    {"prompt": "a", "completion": "c", "label": False, "task_id": "t1", "weights": [0.5, 0.0]},
]
MUTANTS = Path(__file__).parents[2] / "../shared/data/humaneval_mutants.jsonl"


def lines(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_json_lines_a_json_array_and_parquet_give_the_same_rows(tmp_path):
    lines(tmp_path / "a.jsonl", *ROWS)
    (tmp_path / "a.json").write_text(json.dumps(ROWS))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.json", "a.parquet"):
        assert load_rows(tmp_path / name)[0] == ROWS


@pytest.mark.parametrize(("ending", "kind"), [(".gz", "gzip"), (".zst", "zstd"), (".GZ", "gzip")])
def test_packed_files_are_read_as_what_they_hold(tmp_path, ending, kind):
    lines(tmp_path / "a.jsonl", *ROWS)
    (tmp_path / "a.json").write_text(json.dumps(ROWS))
    for name in ("a.jsonl", "a.json"):
        with pa.output_stream(str(tmp_path / (name + ending)), compression=kind) as file:
            file.write((tmp_path / name).read_bytes())
        assert load_rows(tmp_path / (name + ending))[0] == ROWS


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.json.gz"])
@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: b"no " + data])
def test_a_damaged_packed_file_is_named(tmp_path, name, damage):
    with pa.output_stream(str(tmp_path / name), compression="zstd" if name.endswith("zst") else "gzip") as file:
        file.write(b"".join(json.dumps(row).encode() + b"\n" for row in ROWS * 500))
    (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
    with pytest.raises(DataError, match=f"{name}: cannot be read"):
        load_rows(tmp_path / name)


def test_rows_themselves_can_be_given():
    rows, report = load_rows(ROWS)
    assert rows == ROWS
    assert (report.source, report.read, report.kept) == ("rows", 2, 2)


def test_a_path_may_be_text(tmp_path):
    assert load_rows(str(lines(tmp_path / "a.jsonl", *ROWS)))[0] == ROWS


def test_blank_lines_a_byte_order_mark_and_windows_line_ends_are_no_rows(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(ROWS[0]).encode() + b"\r\n\r\n \n" + json.dumps(ROWS[1]).encode())
    assert load_rows(path)[0] == ROWS


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{not json", "is not JSON: .* at column 2"),
        ('{"prompt": "a", "completion": "b"}', "no `label`"),
        ('{"prompt": "a", "completion": "", "label": true}', "`completion` is empty"),
        ('{"prompt": "a", "completion": "b", "label": "maybe"}', "`label` is 'maybe'"),
        ('{"prompt": "a", "completion": "b", "label": 1, "weights": [NaN]}', "`weights` holds nan"),
        ('{"prompt": "a", "completion": "b", "label": 1, "is_correct": 0}', "but `is_correct` is 0"),
        ("[1, 2]", "must be an object"),
        ("[" * 100_000, "is not JSON that can be read"),
        ('{"label": ' + "1" * 5_000 + "}", "is not JSON that can be read"),
    ],
)
def test_a_malformed_line_is_reported_with_file_line_and_reason(tmp_path, line, reason):
    path = lines(tmp_path / "a.jsonl", ROWS[0], "", line)
    with pytest.raises(DataError, match=f"^{path}:3: .*{reason}"):
        load_rows(path)


def test_a_line_that_is_not_utf8_is_reported(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"prompt": "\xff"}\n')
    with pytest.raises(DataError, match=r"a.jsonl:1: is not UTF-8 text \(byte 12\)"):
        load_rows(path)


def test_the_place_in_an_array_or_a_parquet_file_is_the_row_number(tmp_path):
    bad = [ROWS[0], ROWS[1] | {"completion": ""}]
    (tmp_path / "a.json").write_text(json.dumps(bad))
    pq.write_table(pa.Table.from_pylist(bad), tmp_path / "a.parquet")
    for name in ("a.json", "a.parquet"):
        with pytest.raises(DataError, match=f"{name}:2: `completion` is empty"):
            load_rows(tmp_path / name)
    with pytest.raises(DataError, match=r"^rows:2: `completion` is empty"):
        load_rows(bad)


def test_the_reason_for_a_bad_row_comes_without_the_errors_that_it_was_found_by():
    with pytest.raises(DataError) as found:
        load_rows([ROWS[0] | {"label": "no"}])
    assert "During handling" not in "".join(traceback.format_exception(found.value))


def test_skipped_rows_are_counted_and_the_first_are_listed_with_their_reason(tmp_path):
    path = lines(tmp_path / "a.jsonl", "{", ROWS[0], *[{"prompt": "a"}] * 3)
    rows, report = load_rows(path, on_bad_row="skip", shown=2)
    assert rows == ROWS[:1]
    assert (report.read, report.kept, report.bad.count) == (5, 1, 4)
    assert [line.split(": ")[0] for line in report.bad.listed] == [f"{path}:1", f"{path}:3"]
    assert report.summary().splitlines()[0] == f"{path}: 1 of 5 rows"
    assert report.summary().splitlines()[-1] == "  and 2 more"


def test_a_file_without_a_usable_row_is_an_error_even_when_skipping(tmp_path):
    with pytest.raises(DataError, match="no usable row among 2\n2 bad rows skipped"):
        load_rows(lines(tmp_path / "a.jsonl", "{", "{"), on_bad_row="skip")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (
            "a.jsonl",
            None,
            "no such file or folder; a file of rows is needed, each row holds prompt, completion and label",
        ),
        ("a", None, "no such file or folder"),
        ("a.jsonl", b"", "the file is empty; each row holds"),
        ("a.jsonl", b"\n\n", "no row in it; each row holds"),
        ("a.json", b"[]", "no row in it"),
        ("a.json", b"{}", "an array of objects is needed"),
        ("a.json", b"{}\n{}\n", "Extra data .*belongs in a .jsonl file"),
        ("a.parquet", b"PAR0", "is not a Parquet file"),
        ("a.csv", b"prompt,completion", "a file ending in .jsonl, .json, .parquet is needed"),
        ("a", b"x", "a file ending in"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_what_is_needed(tmp_path, name, content, reason):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"^{path}: .*{reason}"):
        load_rows(path)


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(DataError, match="is a folder; name the file in it"):
        load_rows(tmp_path / "a.json")


@pytest.mark.skipif(not MUTANTS.exists(), reason="humaneval_mutants.jsonl is not beside the repository")
def test_the_verified_humaneval_mutants_load_and_tokenize(tokenizer):
    rows, report = load_rows(MUTANTS)
    assert (len(rows), report.bad.count) == (1180, 0)
    data, tokenized = tokenize_rows(rows, tokenizer)
    assert (len(data), tokenized.right, tokenized.prompts) == (1180, 223, len({r["prompt"] for r in rows}))
    # a mutation that failed its tests marks at least one token, one that passed them none
    assert all(any(row["token_error"]) != (row["reward"] == 1.0) for row in data)


@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_a_key_that_stands_twice_in_an_object_is_refused(tmp_path, ending):
    text = '{"prompt": "a", "completion": "b", "label": true, "label": false}'
    path = tmp_path / f"rows.{ending}"
    path.write_text(f"[{text}]" if ending == "json" else text)
    with pytest.raises(DataError, match=r"rows\.jsonl?.*has the key 'label' 2 times: keep one"):
        load_rows(path)


def test_a_key_that_stands_twice_deep_in_a_row_is_refused_or_skipped(tmp_path):
    path = tmp_path / "rows.jsonl"
    good = '{"prompt": "a", "completion": "b", "label": true}'
    path.write_text('{"prompt": "a", "completion": "b", "label": true, "meta": {"x": 1, "x": 2}}\n' + good)
    rows, report = load_rows(path, on_bad_row="skip")
    assert (len(rows), report.bad.count) == (1, 1)


def test_a_parquet_file_with_two_columns_of_one_name_is_refused(tmp_path):
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table([["a"], ["b"], [True], [False]], names=["prompt", "completion", "label", "label"])
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"has 2 columns named 'label': keep one"):
        load_rows(tmp_path / "rows.parquet")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"conversations": [{"from": "gpt", "value": "hi"}], "label": 1}, "`conversations` must hold a prompt"),
        ({"prompt": "p", "response": "r", "label": 1}, "prompt, response, label: rename `response` to `completion`"),
        ({"question": "q", "completion": "c", "label": 1}, "rename `question` to `prompt`"),
        ({"prompt": "p", "completion": "c", "score": 0.7}, "rename `score` to `reward`, or write `label`"),
        ({"prompt": "p", "completion": "c", "passed": True}, "rename `passed` to `label`"),
        ({"prompt": "p", "chosen": "a", "rejected": "b"}, "chosen and rejected become two rows"),
        ({"prompt": "p", "completions": ["a"]}, r"`completions` \(steps\) need `labels`"),
        ({"text": "t", "label": 1}, "`text` is split into `prompt` and `completion`"),
        ({"messages": [{"from": "human", "value": "hi"}], "label": 1}, "they are read in a column `conversations`"),
        ({"a": 1}, "no `prompt` among a: a row needs prompt, completion and label"),
    ],
)  # fmt: skip
def test_an_unknown_form_is_told_with_its_columns_and_the_nearest_one(row, told):
    with pytest.raises(DataError, match=told):
        load_rows([row])


# --- forms, memory and the hub

SHAREGPT = [
    {"from": "human", "value": "1+2?"},
    {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1}}'},
    {"from": "observation", "value": "3"},
    {"from": "gpt", "value": "Three."},
]
MESSAGES = [
    {"role": "user", "content": "1+2?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}],
    },
    {"role": "tool", "content": "3"},
    {"role": "assistant", "content": "Three."},
]


def test_a_conversation_of_sharegpt_is_the_chat_that_it_tells_of():
    tools = [{"type": "function", "function": {"name": "add"}}]
    given = {"conversations": SHAREGPT, "label": True, "system": "Be brief.", "tools": json.dumps(tools)}
    expected = {"messages": [{"role": "system", "content": "Be brief."}, *MESSAGES], "label": True, "tools": tools}
    assert load_rows([given])[0] == load_rows([expected])[0]


def test_a_call_that_is_no_json_is_told():
    with pytest.raises(DataError, match="a `function_call` is 'add 1': JSON with name and arguments is needed"):
        load_rows([{"conversations": [SHAREGPT[0], {"from": "function_call", "value": "add 1"}], "label": True}])


def as_files(folder, rows):
    from datasets import Dataset

    (folder / "rows.json").write_text(json.dumps(rows))
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = Dataset.from_list(rows)
    dataset.to_parquet(folder / "rows.parquet")
    (folder / "data").mkdir()
    dataset.to_parquet(folder / "data" / "test.parquet")
    named = (f"{folder}/rows{ending}" for ending in (".json", ".jsonl", ".parquet"))
    return [rows, dataset, *named, f"hub:{folder / 'data'}:test"]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": MESSAGES, "label": True},
        {"prompt": MESSAGES[:1], "completion": MESSAGES[1:], "reward": 0.25},
        {"conversations": SHAREGPT, "label": False},
        {"instruction": "Add.", "input": "1 2", "output": "3", "label": True},
        {"prompt": "p", "completions": ["a", "b"], "labels": [True, False]},
        {"prompt": "p", "completion": "ab", "steps": [{"end": 1, "reward": 0.5}, {"end": 2, "label": True}]},
    ],
)
def test_every_form_is_the_same_row_from_every_source(row, tmp_path):
    read = [load_rows(source)[0] for source in as_files(tmp_path, [row])]
    assert all(rows == read[0] for rows in read)


def test_fields_that_arrow_fills_with_null_because_another_row_has_them_are_absent(tmp_path):
    plain = [MESSAGES[0], MESSAGES[3]]
    other = {"type": "function", "function": {"name": "mul", "arguments": {"b": 2}}}
    rows = [
        {"messages": MESSAGES},
        {"messages": plain},
        {"messages": [plain[0], MESSAGES[1] | {"tool_calls": [other]}]},
    ]
    rows = [row | {"label": True} for row in rows]
    read = [load_rows(source)[0] for source in as_files(tmp_path, rows)]
    assert all(some == read[0] for some in read)


def test_a_data_set_of_the_hub_is_read_by_its_split_and_as_a_stream(tmp_path):
    as_files(tmp_path, [{"prompt": "p", "completion": str(i), "label": True} for i in range(3)])
    name = f"hub:{tmp_path / 'data'}"
    for options in ({"split": "test"}, {"split": "test", "stream": True}):
        rows, report = load_rows(name, **options)
        assert [row["completion"] for row in rows] == ["0", "1", "2"]
        assert report.source == name


@pytest.mark.parametrize("name", ["hub:nobody/nothing", "hub:/no/where:test"])
def test_a_data_set_that_cannot_be_read_is_one_line(name, monkeypatch):
    # The variable is read at import, and without it the network is tried for 20 seconds.
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=rf"^{name}: cannot be read \(.*\)$"):
        load_rows(name)
