import ast
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weighted_mtp.labelling.mutants.mutations import Mutation, mutations, sample_mutations
from weighted_mtp.labelling.mutants.operators import OPERATORS
from weighted_mtp.labelling.mutants.source_code import SourceError

PROMPT = 'def f(a, b, xs):\n    """Adds 1 and 2."""\n'


def found(operator: str, body: str, prompt: str = PROMPT) -> set[tuple[str, str]]:
    """What an operator makes of a body: pairs of old and new text."""
    body = textwrap.indent(textwrap.dedent(body).strip("\n"), "    ") + "\n"
    return {(m.replaced, m.replacement) for m in mutations(prompt, body) if m.operator == operator}


@pytest.mark.parametrize(
    ("operator", "body", "expected"),
    [
        ("arithmetic", "return a + b", {("+", "-")}),
        ("arithmetic", "return a  // b", {("//", "/"), ("//", "%")}),
        ("arithmetic", "a += b\nreturn a", {("+=", "-="), ("+=", "=")}),
        ("comparison", "return a <= b", {("<=", "<"), ("<=", ">=")}),
        ("comparison", "return a == b", {("==", "!=")}),
        ("comparison", "return a  not  in xs", {("not  in", "in")}),
        ("comparison", "return a is None", {("is", "is not")}),
        ("comparison", "return 1 < a == 2", {("<", "<="), ("<", ">"), ("==", "!=")}),
        ("boolean", "return a and b", {("and", "or")}),
        ("boolean", "return a or b", {("or", "and")}),
        ("forgotten_condition", "return a and b", {("a and ", ""), (" and b", "")}),
        ("forgotten_condition", "return a or b or xs", {("a or ", ""), ("b or ", ""), (" or xs", "")}),
        ("negation", "return not a", {("not ", "")}),
        ("negation", "if xs:\n    return a", {("", " not")}),
        ("negation", "while(xs):\n    return a", {("", "not ")}),
        ("number", "return 2", {("2", "3"), ("2", "1")}),
        ("number", "return 0", {("0", "1")}),
        ("number", "return 0.5", {("0.5", "1.5")}),
        ("number", "return 0xFF", set()),
        ("true_false", "return True", {("True", "False")}),
        ("string", "return 'Yes'", {("'Yes'", "''"), ("'Yes'", "'yes'")}),
        ("string", "return 'no' if a else \"no way\"", {("'no'", "''"), ("'no'", "'NO'"), ("'no'", '"no way"'),
            ('"no way"', '""'), ('"no way"', '"NO WAY"'), ('"no way"', "'no'")}),
        ("string", r"return '\n'", set()),
        ("off_by_one", "return range(a)", {("", " + 1"), ("", " - 1")}),
        ("off_by_one", "return xs[a - 1]", {(" - 1", "")}),
        ("off_by_one", "return xs[a + b]", {("", " + 1"), ("", " - 1")}),
        ("off_by_one", "return xs[:len(xs) - 1]", {(" - 1", "")}),
        ("off_by_one", "return xs[a if b else 3:]", set()),
        ("jump", "for a in xs:\n    break", {("break", "continue")}),
        ("jump", "for a in xs:\n    continue", {("continue", "break")}),
        ("variable", "return a + b", {("a", "b"), ("b", "a")}),
        ("argument_order", "return pow(a, b)", {("a, b", "b, a")}),
        ("argument_order", "return pow(*xs, a)", set()),
        ("operand_order", "return a - b", {("a - b", "b - a")}),
        ("operand_order", "return a + b", set()),
        ("function", "return min(a, b)", {("min", "max")}),
        ("function", "return xs.strip()", {("strip", "lstrip"), ("strip", "rstrip")}),
        ("forgotten_call", "return abs(a)", {("abs(a)", "a")}),
        ("forgotten_call", "return abs(a - b)", {("abs", "")}),
        ("forgotten_call", "return int(xs, base=2)", set()),
        ("forgotten_keyword", "return sorted(xs, key=len, reverse=True)", {(", key=len", ""), (", reverse=True", "")}),
        ("forgotten_keyword", "return dict(a=1)", set()),
        ("forgotten_statement", "xs.append(a)\nreturn xs", {("xs.append(a)\n    ", "")}),
        ("forgotten_statement", "if not xs: return 0\nreturn xs[a]", {("if not xs: return 0\n    ", "")}),
        ("forgotten_statement", "a = b\nreturn a", set()),
    ],
)  # fmt: skip
def test_an_operator_makes_these_edits_and_no_others(operator: str, body: str, expected: set[tuple[str, str]]):
    assert found(operator, body) == expected


def test_every_operator_has_a_case_above():
    marks = test_an_operator_makes_these_edits_and_no_others.pytestmark  # pyright: ignore[reportFunctionMemberAccess]
    assert {case[0] for case in marks[0].args[1]} == set(OPERATORS)


@pytest.mark.parametrize("body", ["return 'a' + b", "return [0] * a", "return '%d' % a", "return f'{a}' + b"])
def test_text_and_lists_are_not_reckoned_with(body: str):
    assert found("arithmetic", body) == set()


@pytest.mark.parametrize(
    "body", ["return (a) +(b)", "return a + ((b))", "return (a # - *\n  + b)", "return a \\\n + b"]
)
def test_parentheses_comments_and_broken_lines_around_an_operator_are_passed_over(body: str):
    assert found("arithmetic", body) == {("+", "-")}


def test_a_part_of_a_condition_is_forgotten_with_its_parentheses():
    body = "    return (a < 1) and (b < 2)\n"
    texts = {m.completion for m in mutations(PROMPT, body) if m.operator == "forgotten_condition"}
    assert texts == {"    return (a < 1)\n", "    return (b < 2)\n"}


# --- what all mutations have in common

LONG = '''\
    # keeps its comments: 1 + 1
    total, names = 0, ["één", 'zwei', "셋"]  # café + 1
    def helper(n):
        """At least 2 of n > 1."""
        while n > 0 and not n == 3:
            n -= 1
            if n % 2: continue
            yield n
    for i in range(len(xs) - 1):
        if xs[i] == "é" or xs[i + 1] is not None:
            total += min(i,
                         a)
        else:
            names.append(f"{a + 1} and {b}")
    return sorted(("ü" + n for n in names), key=lambda n: (n, total)), total - a
'''


@pytest.fixture(scope="module")
def every() -> list[Mutation]:
    return mutations(PROMPT, LONG)


def test_putting_the_old_text_back_gives_the_completion(every: list[Mutation]):
    assert len(every) > 50
    for m in every:
        start, end = m.span
        assert m.completion[:start] + m.replaced + m.completion[end:] == LONG


def test_every_mutation_compiles_and_no_two_are_the_same_program(every: list[Mutation]):
    trees = [ast.dump(ast.parse(PROMPT + m.completion)) for m in every]
    assert len({*trees, ast.dump(ast.parse(PROMPT + LONG))}) == len(trees) + 1
    for m in every:
        compile(PROMPT + m.completion, "<mutant>", "exec")


def test_spans_count_characters_not_bytes():
    [m] = [m for m in mutations("", "x = 'é셋' if True else 1 + 2\n") if m.operator == "arithmetic"]
    assert (m.span, m.completion) == ((24, 25), "x = 'é셋' if True else 1 - 2\n")


def test_a_deletion_has_an_empty_span_where_the_text_goes_on():
    [m] = [m for m in mutations(PROMPT, "    return not a\n") if m.operator == "negation"]
    assert (m.completion, m.span, m.completion[m.span[0] :]) == ("    return a\n", (11, 11), "a\n")


@pytest.mark.parametrize(
    "kept", ["# keeps its comments: 1 + 1", "# café + 1", "At least 2 of n > 1.", 'f"{a + 1} and {b}"']
)
def test_comments_docstrings_and_f_strings_stay_as_they_are(every: list[Mutation], kept: str):
    assert all(kept in m.completion for m in every)


def test_annotations_stay_as_they_are():
    assert mutations("", "x: 'int | 3'\ndef f(a: 'b' = None) -> 'c': ...\n") == []


def test_nothing_in_the_prompt_is_touched():
    prompt = "def helper(a, b):\n    return a + b * 2\n\ndef f(a):\n"
    assert {m.operator for m in mutations(prompt, "    return helper(a, 3)\n")} == {"argument_order", "number"}


def test_lines_may_end_with_a_carriage_return_and_a_line_feed():
    prompt, body = PROMPT.replace("\n", "\r\n"), "    a = 1\r\n    return a + b\r\n"
    [m] = [m for m in mutations(prompt, body) if m.operator == "arithmetic"]
    assert m.completion == "    a = 1\r\n    return a - b\r\n"


@pytest.mark.parametrize(
    "body", ["    return (\n", "    break\n", "    a = 1\r    return a\n", "    return '\0'\n", "  x\n y"]
)
def test_what_does_not_compile_cannot_be_mutated(body: str):
    with pytest.raises(SourceError):
        mutations(PROMPT, body)


@given(st.text(alphabet="abxs0123+-*%<=()[]: \nifelsrtun,'é#", max_size=40))
def test_any_text_is_refused_or_mutated_with_true_spans(text: str):
    body = f"    return [{text}]\n"
    try:
        every = mutations(PROMPT, body)
    except SourceError:
        return
    for m in every:
        assert m.completion[: m.span[0]] + m.replaced + m.completion[m.span[1] :] == body


# --- wrong variables


def wrong(body: str, prompt: str = PROMPT) -> set[tuple[str, str]]:
    return found("variable", body, prompt)


def test_a_variable_is_not_misread_where_it_has_no_value_yet():
    assert wrong("c = a * a\nd = c * b\nreturn d * d") == {
        ("a", "b"), ("c", "a"), ("c", "b"), ("b", "a"), ("b", "c"), ("d", "a"), ("d", "b"), ("d", "c"),
    }  # fmt: skip


def test_variables_that_have_no_role_in_common_are_not_mistaken():
    assert wrong("xs.append(a)\nreturn xs[b]") == set()


def test_parameters_of_one_annotation_can_be_mistaken():
    prompt = "def f(a: int, b: int, xs: list):\n"
    assert wrong("print(a)\nreturn xs[b]", prompt) == {("a", "b"), ("b", "a")}


def test_the_variable_of_a_loop_is_not_read_by_what_it_loops_over():
    assert wrong("for i in range(a):\n    print(range(i))") == {("i", "a")}


def test_the_variable_of_a_comprehension_is_read_inside_it_only():
    assert wrong("return a + sum(x * 2 for x in xs)") == {("x", "a")}


def test_nested_functions_have_variables_of_their_own():
    assert wrong("def g(c, d):\n    return c - d\nreturn g(a) - b") == {("c", "d"), ("d", "c")}


def test_functions_and_globals_are_no_variables():
    assert wrong("return a(0) + len(LIMIT) + LIMIT") == set()


# --- samples


def test_a_sample_is_the_same_for_the_same_seed_and_another_for_another(every: list[Mutation]):
    first = sample_mutations(PROMPT, LONG, 12, "0 task")
    assert first == sample_mutations(PROMPT, LONG, 12, "0 task")
    assert first != sample_mutations(PROMPT, LONG, 12, "1 task")
    assert {(m.completion, m.span) for m in first} <= {(m.completion, m.span) for m in every}


def test_a_larger_sample_includes_a_smaller_one():
    small, large = (sample_mutations(PROMPT, LONG, count, "s") for count in (7, 20))
    assert len(small) == 7
    assert set(small) < set(large)


def test_a_sample_of_all_is_all(every: list[Mutation]):
    assert {m.completion for m in sample_mutations(PROMPT, LONG, 10_000, "s")} == {m.completion for m in every}


def test_a_sample_takes_every_operator_before_it_takes_one_twice(every: list[Mutation]):
    operators = {m.operator for m in every}
    assert {m.operator for m in sample_mutations(PROMPT, LONG, len(operators), "s")} == operators


def test_a_sample_changes_every_place_before_it_changes_one_twice():
    body = "    return " + " + ".join(f"x{i} * 2" for i in range(8)) + "\n"
    chosen = [m for m in sample_mutations("def f():\n", body, 16, "s") if m.operator == "number"]
    assert len({m.span[0] for m in chosen}) == len(chosen) == 8
