"""Terminal output carries its information with colours and without."""

import io

import pytest
from rich.console import Console

from weighted_mtp.demo.page.accuracy import print_summary
from weighted_mtp.demo.page.content import PageContent
from weighted_mtp.reports.terminal import print_tokens
from weighted_mtp.reports.token_view import TokenView


def plain(encoding: str = "utf-8", width: int = 80) -> Console:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    return Console(file=stream, width=width, no_color=True)


def coloured() -> Console:
    return Console(file=io.StringIO(), width=80, force_terminal=True, color_system="truecolor", no_color=False)


def text_of(console: Console) -> str:
    console.file.flush()
    stream = console.file
    if isinstance(stream, io.TextIOWrapper):
        return stream.buffer.getvalue().decode(stream.encoding)  # type: ignore[attr-defined]
    return stream.getvalue()  # type: ignore[attr-defined]


def chain(**changes: object) -> TokenView:
    view = {
        "prompt": "7 +3 :", "label": False, "tokens": [" 0", " 4", "<eos>"], "weights": [1.0, 0.15, 2.2],
        "td_errors": [0.0, -0.6, 0.25], "values": None, "token_error": [False, True, False],
        "arm": "td_beta0.3",
    }  # fmt: skip
    return {**view, **changes}  # type: ignore[typeddict-item, return-value]


def test_without_colour_digits_and_carets_stand_below_the_tokens() -> None:
    console = plain()
    print_tokens(console, [chain()])
    lines = text_of(console).splitlines()
    where = lines.index(" 0 4<eos>")

    assert lines[where + 1 : where + 3] == [" 5 17", "  ^^"]


def test_header_tells_label_arm_mean_weight_and_lowest_td() -> None:
    console = plain()
    print_tokens(console, [chain()])

    assert "1  WRONG  td_beta0.3  mean weight 1.12  lowest TD -0.60 at token 2 ' 4'" in text_of(console)


def test_line_breaks_in_tokens_are_real(code_example: TokenView) -> None:
    console = plain()
    print_tokens(console, [code_example])
    lines = text_of(console).splitlines()

    for line in ("    for item in items:↵", "        return True↵", "    return False↵"):
        assert line in lines


def test_marks_stay_below_their_tokens_where_lines_wrap() -> None:
    console = plain(width=20)
    tokens = [f" w{index}" for index in range(30)]
    weights = [5.0 if index % 7 == 0 else 1.0 for index in range(30)]
    print_tokens(console, [chain(tokens=tokens, weights=weights, td_errors=None, token_error=None)])
    lines = text_of(console).splitlines()
    rows = [index for index, line in enumerate(lines) if line.startswith(" w") and line[2:3].isdigit()]

    assert len(rows) > 4
    for row in rows:
        heavy = [column for column, mark in enumerate(lines[row + 1]) if mark == "9"]
        starts = [column for column, char in enumerate(lines[row]) if char == "w"]
        marked = [int(lines[row][column + 1 :].split(" ")[0]) for column in starts if column in heavy]
        assert all(index % 7 == 0 for index in marked)
        assert len(marked) == len(heavy)


def test_colours_show_the_weight_and_an_underline_the_wrong_token() -> None:
    console = coloured()
    print_tokens(console, [chain()])
    tokens = text_of(console).splitlines()[-1]

    assert tokens.startswith(" 0\x1b[1;4;")  # weight 1 is left alone; bold and underlined is wrong
    assert "48;2;221;122;14m 4" in tokens
    assert "48;2;159;200;242m<eos>" in tokens


def test_a_token_cannot_steer_the_terminal() -> None:
    console = plain()
    print_tokens(console, [chain(prompt="\x1b[31mred", tokens=["\x1b]0;title\x07", " 4", "<eos>"])])

    assert "\x1b" not in text_of(console)
    assert "\\x1b]0;title\\x07" in text_of(console)


def test_markup_in_tokens_is_text() -> None:
    console = plain()
    print_tokens(console, [chain(tokens=["[bold]", " 4", "[/x]"])])

    assert "[bold] 4[/x]" in text_of(console)


def test_an_ascii_terminal_gets_ascii(report: PageContent, code_example: TokenView) -> None:
    console = plain(encoding="ascii")
    print_summary(console, report.summary)
    print_tokens(console, [code_example])

    assert "\\ud55c" in text_of(console)  # the Hangul of the prompt, spelled out
    assert "items:\\n" in text_of(console)


def test_long_prompts_are_cut_and_say_so() -> None:
    console = plain()
    print_tokens(console, [chain(prompt="\n".join("abcdefghij"))])

    assert "h\n... 2 more lines of the prompt" in text_of(console)


def test_uneven_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="weights has 1 entries for 3 tokens"):
        print_tokens(plain(), [chain(weights=[1.0])])


def test_no_tokens_at_all_are_printed_without_complaint() -> None:
    console = plain()
    print_tokens(console, [chain(tokens=[], weights=[], td_errors=[], token_error=[])])

    assert "WRONG" in text_of(console)


def test_summary_fits_eighty_columns_and_groups_controls(report: PageContent) -> None:
    console = plain()
    print_summary(console, report.summary)
    lines = [line.rstrip() for line in text_of(console).splitlines()]

    assert max(map(len, lines)) <= 80
    assert lines.index("Controls") < next(i for i, line in enumerate(lines) if line.startswith("lognormal"))
    assert any(line.split() == ["right_only", "99.8", "0.0", "3", "+31.1", "+30.1", "to", "+32.2"] for line in lines)
    assert any(line.split() == ["mtp_td_beta0.3", "97.0", "-", "1", "+29.9*", "-"] for line in lines)
    assert "*: to mtp_uniform." in " ".join(lines)


def test_a_token_that_is_a_part_of_a_character_is_a_dot():
    view = {"prompt": "x", "label": True, "tokens": ["", "", "한"], "weights": [1.0, 2.0, 1.0], "td_errors": None,
            "values": None, "token_error": None, "arm": "a"}  # fmt: skip
    console = Console(file=io.StringIO(), width=80)
    print_tokens(console, [view])
    assert "··한" in console.file.getvalue()
