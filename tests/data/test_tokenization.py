import pytest

from weighted_mtp.data import DataError, chain_tokenizer, parse_row, prompt_id, tokenize_rows
from weighted_mtp.data.chat import Written
from weighted_mtp.data.far_text import FarText

ROW = {"prompt": "7 +3 *7 :", "completion": "0 3", "label": True}
WRONG = {"prompt": "def f():", "completion": "return False", "label": False}


def one(row, tokenizer=None, **options):
    data, _ = tokenize_rows([row], tokenizer or chain_tokenizer(), **options)
    return data[0]


def test_prompt_tokens_carry_no_label_and_the_completion_ends_with_eos():
    item = one(ROW)
    assert item["input_ids"] == [7, 11, 20, 22, 0, 3, 23]
    assert item["labels"] == [-100, -100, -100, -100, 0, 3, 23]


def test_eos_can_be_left_out():
    assert one(ROW, append_eos=False)["labels"] == [-100, -100, -100, -100, 0, 3]


def test_a_completion_that_was_cut_off_has_no_end_and_its_lists_no_entry_for_one():
    row = parse_row({"prompt": "7 +3 :", "completion": "0 3", "label": 1, "truncated": "true", "weights": [1, 2]})
    item = one(row)
    assert [label for label in item["labels"] if label != -100] == [0, 3]
    assert item["weights"] == [1, 2]
    with pytest.raises(DataError, match="`truncated` is 'maybe'"):
        parse_row({"prompt": "7 +3 :", "completion": "0", "label": 1, "truncated": "maybe"})


def test_a_prompt_gets_bos_and_a_completion_does_not(tokenizer):
    item = one({"prompt": "ab", "completion": "c", "label": True}, tokenizer)
    assert tokenizer.convert_ids_to_tokens(item["input_ids"]) == ["<s>", "a", "b", "c", "</s>"]


def test_an_empty_prompt_is_its_bos(tokenizer):
    assert one({"prompt": "", "completion": "c", "label": True}, tokenizer)["labels"][0] == -100


def test_a_prompt_without_any_token_is_refused():
    with pytest.raises(DataError, match=r"row 0 .*the prompt has no token"):
        one(ROW | {"prompt": ""})


def test_a_completion_without_any_token_is_refused():
    with pytest.raises(DataError, match=r"row 0 .*the completion has no token"):
        one(ROW | {"completion": "  "})


def test_ends_and_beginnings_in_a_completion_are_told(tokenizer):
    def notes(completion):
        return list(tokenize_rows([{"prompt": "a", "completion": completion, "label": True}], tokenizer)[1].notes)

    assert one({"prompt": "a", "completion": "c</s></s>", "label": True}, tokenizer)["labels"].count(1) == 1
    assert "learned once" in notes("c</s></s>")[0]
    assert notes("<s>c") == ["'<s>' stands in what is learned, as a special token"]


def test_a_text_that_the_tokenizer_cannot_read_is_a_row_and_a_reason():
    unread = ROW | {"completion": "banana 3"}
    with pytest.raises(DataError, match=r"row 1 .*the tokenizer cannot read this text: .*\[UNK\]"):
        tokenize_rows([ROW, unread], chain_tokenizer())
    data, report = tokenize_rows([ROW, unread, ROW | {"prompt": "banana"}], chain_tokenizer(), on_bad_row="skip")
    assert len(data) == 1
    assert report.bad.count == 2


def test_a_tokenizer_that_closes_every_text_with_eos_leaves_the_prompt_open(tokenizer):
    import copy

    from tokenizers import processors

    closing = copy.deepcopy(tokenizer)
    closing.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    assert closing("ab")["input_ids"][-1] == closing.eos_token_id
    row = {"prompt": "ab", "completion": "c", "label": True}
    assert one(row, closing)["input_ids"] == one(row, tokenizer)["input_ids"]


def test_messages_go_through_the_chat_template_with_the_turn_opened(tokenizer):
    row = parse_row(
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}], "label": 1}
    )
    item = one(row, tokenizer)
    assert tokenizer.decode(item["input_ids"]) == "<user>hi</s><assistant>yo</s>"
    learned = [token for token in item["labels"] if token != -100]
    assert tokenizer.decode(learned) == "yo</s>"


def test_chats_and_texts_can_be_mixed_and_keep_their_order(tokenizer):
    chat = {"prompt": [{"role": "user", "content": "hi"}], "completion": "yo", "label": True}
    text = {"prompt": "ab", "completion": "c", "label": True}
    data, _ = tokenize_rows([text, chat, text], tokenizer)
    assert [tokenizer.decode(ids) for ids in data["input_ids"]] == [
        "<s>abc</s>",
        "<user>hi</s><assistant>yo</s>",
        "<s>abc</s>",
    ]


def test_messages_without_a_chat_template_are_refused():
    with pytest.raises(DataError, match="need a tokenizer with a chat template"):
        one({"prompt": [{"role": "user", "content": "7 :"}], "completion": "0", "label": True})


def test_a_tokenizer_without_eos_is_refused(tokenizer):
    import copy

    without = copy.deepcopy(tokenizer)
    without.eos_token = None
    with pytest.raises(ValueError, match=r"no EOS token: set .* or append_eos=False"):
        one(WRONG, without)


def test_the_same_prompt_text_has_the_same_id_in_every_file():
    rows = [ROW, ROW | {"prompt": "7 +3 :"}, ROW | {"label": False}]
    first, _ = tokenize_rows(rows, chain_tokenizer())
    other, _ = tokenize_rows(rows[::-1], chain_tokenizer())
    ids = first["prompt_id"][:]
    assert ids == other["prompt_id"][::-1]
    assert ids[0] == ids[2] != ids[1]
    assert ids[0] == prompt_id("7 +3 *7 :")


def test_reward_is_the_label_and_row_id_the_index():
    data, report = tokenize_rows([ROW, ROW | {"label": False}], chain_tokenizer())
    assert data["reward"][:] == [1.0, 0.0]
    assert data["row_id"][:] == [0, 1]
    assert (report.kept, report.right, report.prompts) == (2, 1, 1)
    assert (report.prompt_tokens, report.labelled_tokens) == (8, 6)


def test_more_rows_than_one_chunk_keep_their_order():
    rows = [ROW | {"completion": f"{i % 10} {i // 10 % 10}"} for i in range(4_321)]
    data, report = tokenize_rows(rows, chain_tokenizer())
    assert data["row_id"][:] == list(range(4_321))
    assert [ids[4] for ids in data["input_ids"]] == [i % 10 for i in range(4_321)]
    assert report.kept == 4_321


# --- what does not fit


def test_a_row_that_just_fits_is_whole():
    data, report = tokenize_rows([ROW], chain_tokenizer(), max_length=7)
    assert data[0]["labels"][-1] == 23
    assert report.truncated == 0


def test_a_long_row_loses_the_end_of_its_completion_and_is_counted():
    scored = ROW | {"values": [0.1, 0.2, 0.3], "token_error": [False, True]}
    data, report = tokenize_rows(
        [scored, scored | {"completion": "0", "values": [0, 0], "token_error": [False]}],
        chain_tokenizer(),
        max_length=6,
    )
    assert data[0]["input_ids"] == [7, 11, 20, 22, 0, 3]
    assert data[0]["labels"] == [-100, -100, -100, -100, 0, 3]
    assert data[0]["values"] == pytest.approx([0.1, 0.2])
    assert data[0]["token_error"] == [False, True]
    assert data[0]["reward"] == 1.0
    assert (report.truncated, report.dropped) == (1, 0)
    assert "1 completions cut at 6 tokens" in report.summary()


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "def f():", "completion": "return True\n" * 20_000, "label": True},
        {"prompt": [{"role": "user", "content": "a"}], "completion": "return False\n" * 20_000, "label": False},
    ],
    ids=["text", "chat"],
)
def test_text_far_beyond_the_limit_is_not_tokenized_and_changes_nothing(tokenizer, row):
    limit = 30
    data, report = tokenize_rows([row], tokenizer, max_length=limit)
    whole = one(row, tokenizer)
    assert report.truncated == 1
    assert [data[0][name] for name in ("input_ids", "labels")] == [whole[n][:limit] for n in ("input_ids", "labels")]
    cut = FarText(tokenizer, limit).cut(row, Written(("prompt", row["completion"]), "prompt"))
    assert len(cut.texts[1]) < 8_000


def test_a_long_row_whose_lists_belong_to_its_tokens_is_tokenized_whole(tokenizer):
    row = {"prompt": "def f():", "completion": "return True\n" * 1_000, "label": True}
    weights = [1.0] * sum(label != -100 for label in one(row, tokenizer)["labels"])
    item = one(row | {"weights": weights}, tokenizer, max_length=30)
    assert len(item["weights"]) == sum(label != -100 for label in item["labels"])


def test_a_long_row_of_few_tokens_keeps_its_end():
    for completion in ("0" + " " * 30_000 + "4", "0" + "\n \t" * 10_000 + "4"):  # this tokenizer drops white space
        row = {"prompt": "7 +3 *7 :", "completion": completion, "label": False}
        limited, report = tokenize_rows([row], chain_tokenizer(), max_length=64)
        assert limited[0]["labels"] == one(row)["labels"] == [-100, -100, -100, -100, 0, 4, 23]
        assert report.truncated == 0


def test_a_prompt_far_beyond_the_limit_drops_its_row(tokenizer):
    long = {"prompt": "return " * 20_000, "completion": "True", "label": True}
    assert tokenize_rows([WRONG, long], tokenizer, max_length=30)[1].dropped == 1


def test_a_prompt_that_leaves_no_room_drops_its_row():
    data, report = tokenize_rows([ROW, ROW | {"prompt": "7 :"}], chain_tokenizer(), max_length=4)
    assert data["row_id"][:] == [1]
    assert (report.dropped, report.truncated) == (1, 1)
    assert "1 rows dropped, longer than 4 tokens" in report.summary()


def test_long_rows_can_be_dropped_whole():
    data, report = tokenize_rows([ROW, ROW | {"completion": "0"}], chain_tokenizer(), max_length=6, on_long="drop")
    assert data["row_id"][:] == [1]
    assert (report.dropped, report.truncated) == (1, 0)


def test_a_limit_that_leaves_no_row_is_an_error():
    with pytest.raises(DataError, match=r"no row left to train on: 0 of 1 rows .*1 rows dropped"):
        one(ROW, max_length=3)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_length": 1}, "max_length is 1: at least 2"),
        ({"on_long": "split"}, "on_long is 'split': 'truncate' or 'drop'"),
        ({"turns": "first"}, "turns is 'first': 'all' or 'last'"),
    ],
)
def test_an_impossible_option_is_refused(options, reason):
    with pytest.raises(ValueError, match=reason):
        one(ROW, **options)


# --- lists with one entry for each token


@pytest.mark.parametrize("name", ["weights", "values", "td_errors"])
def test_a_list_of_the_wrong_length_is_refused_with_both_counts(name):
    with pytest.raises(DataError, match=f"`{name}` has 2 entries for 3 labelled tokens \\(2 of the completion"):
        one(ROW | {name: [1.0, 1.0]})


def test_without_eos_a_list_has_one_entry_fewer():
    assert one(ROW | {"weights": [1.0, 2.0]}, append_eos=False)["weights"] == [1.0, 2.0]


def test_token_error_may_leave_out_eos():
    assert one(ROW | {"token_error": [False, True]})["token_error"] == [False, True, False]
    assert one(ROW | {"token_error": [False, True, True]})["token_error"] == [False, True, True]
    with pytest.raises(DataError, match="`token_error` has 1 entries for 3 labelled tokens"):
        one(ROW | {"token_error": [True]})


def test_a_row_without_the_weights_that_others_have_is_refused_or_skipped():
    rows = [ROW | {"weights": [1.0, 1.0, 1.0]}, ROW]
    with pytest.raises(DataError, match="row 1 \\(prompt '7 \\+3 \\*7 :'\\): no `weights`, which other rows have"):
        tokenize_rows(rows, chain_tokenizer())
    data, report = tokenize_rows(rows, chain_tokenizer(), on_bad_row="skip")
    assert data["row_id"][:] == [0]
    assert (report.bad.count, report.kept) == (1, 1)


def test_a_row_without_token_error_is_null_where_others_have_it():
    data, _ = tokenize_rows([ROW | {"token_error": [True, False]}, ROW], chain_tokenizer())
    assert data["token_error"][:] == [[True, False, False], None]


# --- spans


def test_the_tokens_of_a_wrong_rows_span_are_its_errors(tokenizer):
    item = one(WRONG | {"span": [7, 12]}, tokenizer)
    learned = [token for token in item["labels"] if token != -100]
    marked = [t for t, wrong in zip(learned, item["token_error"], strict=True) if wrong]
    assert tokenizer.decode(marked).strip() == "False"


def test_a_span_of_a_right_row_marks_nothing(tokenizer):
    assert not any(one(WRONG | {"label": True, "span": [7, 12]}, tokenizer)["token_error"])


def test_a_wrong_row_without_a_span_is_unknown_where_others_have_one(tokenizer):
    data, _ = tokenize_rows([WRONG | {"span": [7, 12]}, WRONG], tokenizer)
    assert data[1]["token_error"] is None


def test_an_empty_span_at_the_end_marks_eos(tokenizer):
    end = len(WRONG["completion"])
    errors = one(WRONG | {"span": [end, end]}, tokenizer)["token_error"]
    assert errors == [False] * (len(errors) - 1) + [True]


def test_a_character_of_several_tokens_marks_all_of_them(tokenizer):
    item = one({"prompt": "p", "completion": "a한b", "label": False, "span": [1, 2]}, tokenizer)
    assert item["token_error"] == [False, True, True, True, False, False]  # three bytes


def test_spans_that_cannot_be_mapped_are_reported():
    class WithoutOffsets:
        def __init__(self, inner):
            self.inner = inner

        def __call__(self, *args, **options):
            assert not options.get("return_offsets_mapping")
            return self.inner(*args, **options)

        def __getattr__(self, name):
            return False if name == "is_fast" else getattr(self.inner, name)

    rows = [ROW | {"label": False, "span": [0, 1]}, ROW]
    data, report = tokenize_rows(rows, WithoutOffsets(chain_tokenizer()))
    assert data[0]["token_error"] is None
    assert report.spans_unused == 1
    assert "1 spans unused" in report.summary()
