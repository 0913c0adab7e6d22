"""Problems in the forms that public data sets come in, as the columns that prompts and verifiers are read from."""

import ast
import base64
import binascii
import json
import pickletools
import textwrap
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from weighted_mtp.data.schema import DataError

Row = dict[str, Any]
_MOST_BYTES = 1 << 30  # of a problem's private tests
_STRING = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"}
_AROUND = {"PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP"}
_MODULES = ("bisect", "collections", "functools", "heapq", "itertools", "math", "typing")
IMPORTED = "".join(f"from {name} import *\n" for name in _MODULES)
"""What LeetCode's programs take for imported."""
STREAMS = "Read standard input, and write to standard output.\n"
ANSWER_HERE = "Answer with the whole program in one block that begins with ```python and ends with ```."


class Form(NamedTuple):
    """The columns of a data set, and what becomes of them."""

    name: str
    has: frozenset[str]
    lacks: frozenset[str]
    judged_by: str
    """The verifiers that fit."""
    read: Callable[[Mapping[str, Any]], Row]
    """Our columns, or a DataError."""


def as_problem(row: Mapping[str, Any]) -> Row:
    """The row with the columns that its form gives: `prompt`, `task_id` and what a verifier reads; others as they are.
    DataError: a row of a known form that cannot be read.

    Examples:
        >>> as_problem({"question": "6 * 7?", "answer": "6 * 7 = <<6*7=42>>42\\n#### 42"})["answer"]
        '42'
    """
    form = form_of(row)
    return dict(row) if form is None else {**row, **form.read(row)}


def form_of(row: Mapping[str, Any]) -> Form | None:
    """The known form of a row, by its columns."""
    there = {name for name, value in row.items() if value is not None}
    return next((form for form in FORMS if form.has <= there and not form.lacks & there), None)


def _big_code_bench(row: Mapping[str, Any]) -> Row:
    return {"prompt": row["complete_prompt"]}


def _evalplus(row: Mapping[str, Any]) -> Row:
    """EvalPlus's own file: inputs alone, whose outputs are the reference's; the reference runs beside the tests."""
    if not str(row.get("task_id")).startswith("HumanEval"):
        raise DataError(
            "inputs of MBPP+ in EvalPlus's own file are not what JSON says (tuples, sets): take evalplus/mbppplus of "
            "the hub, which has `test`"
        )
    reference, name = f"{row['prompt']}{row['canonical_solution']}", str(row["entry_point"])
    inputs = [*(row["base_input"] or []), *(row.get("plus_input") or [])]
    zero = "abs(names['poly'](given[0], found)) <= 1e-4"  # one root of several
    right = zero if name == "find_zero" else f"alike(found, names[{name!r}](*copy.deepcopy(given)))"
    test = f"""
        import copy

        def alike(found, right):
            if isinstance(right, float):
                close = isinstance(found, (int, float)) and abs(found - right) <= {row.get("atol") or 1e-6!r}
                return close or found == right or (found != found and right != right)
            if isinstance(right, (list, tuple)):
                same = type(found) is type(right) and len(found) == len(right)
                return same and all(map(alike, found, right))
            return found == right

        def check(candidate):
            names = {{}}
            exec({reference!r}, names)
            for given in {inputs!r}:
                found = candidate(*copy.deepcopy(given))
                assert {right}
        """
    return {"test": textwrap.dedent(test)}


def _mbpp(row: Mapping[str, Any]) -> Row:
    """The text and the tests shown become a docstring, behind which the whole function is written."""
    text, code, tests = row.get("text") or row.get("prompt"), row["code"], row["test_list"]
    if not all(isinstance(part, str) for part in (text, code)) or not isinstance(tests, list) or not tests:
        raise DataError("MBPP's columns are text (or prompt) and code, texts, and test_list, a list of texts")
    setup = row.get("test_imports") or str(row.get("test_setup_code") or "").splitlines()
    shown, asked = "\n".join(map(str, tests)), str(text).strip()
    docstring = f"{asked}\n{shown}".replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    body = row.get("test") or f"def check(candidate):\n{textwrap.indent(shown, '    ')}\n"
    return {
        "prompt": f'"""\n{docstring}\n"""\n',
        "canonical_solution": code.replace("\r\n", "\n"),
        "entry_point": _tested(code, shown),
        "test": "\n".join([*setup, "", body]).replace("\r\n", "\n"),
    }


def _tested(code: str, tests: str) -> str:
    """The function of `code` that the tests call first."""
    try:
        defined = {node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)}
        calls = [node.func for node in ast.walk(ast.parse(tests)) if isinstance(node, ast.Call)]
    except SyntaxError as error:
        raise DataError(f"`code` or `test_list` does not compile: {error.msg}") from None
    name = next((func.id for func in calls if isinstance(func, ast.Name) and func.id in defined), None)
    if name is None:
        raise DataError("the tests call no function that `code` defines")
    return name


def _live_code_bench(row: Mapping[str, Any]) -> Row:
    """A statement as what a user says; tests are lines to read and to write, or calls of a method of `Solution`."""
    cases = [*_cases(row, "public_test_cases"), *_cases(row, "private_test_cases")]
    starter = str(row.get("starter_code") or "")
    shown = f"Begin with this code:\n```python\n{IMPORTED}\n{starter}\n```\n" if starter else STREAMS
    said = f"{row['question_content']}\n\n{shown}{ANSWER_HERE}"
    problem: Row = {"prompt": [{"role": "user", "content": said}], "task_id": row.get("question_id")}
    try:
        if {case["testtype"] for case in cases} == {"stdin"}:
            return problem | {name: [case[name[:-1]] for case in cases] for name in ("inputs", "outputs")}
        metadata = row.get("metadata") or "{}"
        name = (json.loads(metadata) if isinstance(metadata, str) else metadata)["func_name"]
        given = [", ".join(repr(json.loads(line)) for line in case["input"].split("\n") if line) for case in cases]
        right = [repr(json.loads(case["output"])) for case in cases]
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"LiveCodeBench's tests or `metadata` cannot be read: {error!r}") from None
    calls = "".join(f"    assert candidate({g}) == {r}\n" for g, r in zip(given, right, strict=True))
    return problem | {"entry_point": f"Solution().{name}", "test": f"def check(candidate):\n{calls}"}


def _cases(row: Mapping[str, Any], name: str) -> list[dict[str, str]]:
    """Test cases as JSON text, or as that pickled, packed and in base 64: what is pickled is read, never loaded."""
    given = row.get(name) or []
    try:
        if isinstance(given, str) and not given.lstrip().startswith("["):
            unpacking = zlib.decompressobj()
            pickled = unpacking.decompress(base64.b64decode(given, validate=True), _MOST_BYTES)
            given = _text_in(pickled) if unpacking.eof else ""
        return json.loads(given) if isinstance(given, str) else given
    except (ValueError, zlib.error, binascii.Error):
        raise DataError(f"`{name}` is neither JSON nor such text pickled, packed and in base 64") from None


def _text_in(pickled: bytes) -> str:
    """The one text that a pickle holds; empty where it holds anything else, which might run."""
    codes = [(code.name, argument) for code, argument, _ in pickletools.genops(pickled)]
    texts = [str(argument) for name, argument in codes if name in _STRING]
    return texts[0] if len(texts) == 1 and all(name in _STRING | _AROUND for name, _ in codes) else ""


def _gsm8k(row: Mapping[str, Any]) -> Row:
    answer = row["answer"]
    behind = answer.rpartition("####")[2].strip() if isinstance(answer, str) else answer
    return {"prompt": row["question"], "answer": behind}


def _math(row: Mapping[str, Any]) -> Row:
    answer = row.get("answer")
    found = {"prompt": row["problem"], "answer": boxed(str(row["solution"])) if answer is None else answer}
    return found | {"task_id": row.get("task_id", row.get("unique_id"))}


def boxed(solution: str) -> str | None:
    r"""What stands in the last box of a solution.

    Examples:
        >>> boxed(r"so \boxed{1} or $\boxed{\frac{1}{2}}$."), boxed(r"thus \boxed 5.")
        ('\\frac{1}{2}', '5')
    """
    start = max(solution.rfind("\\boxed"), solution.rfind("\\fbox"))
    if start < 0:
        return None
    rest = solution[start:].partition("box")[2].removeprefix("ed").lstrip()
    depth = 0
    for i, character in enumerate(rest):
        depth += (character == "{") - (character == "}")
        if depth <= 0:
            return rest[1:i] if character == "}" else rest[:1]
    return None


FORMS = tuple(
    Form(name, frozenset(has.split()), frozenset(lacks.split()), judged_by, read)
    for name, has, lacks, judged_by, read in (
        ("LiveCodeBench", "question_content public_test_cases", "", "stdin (or python-tests: of functions)",
         _live_code_bench),
        ("MBPP", "code test_list", "", "python-tests", _mbpp),
        ("EvalPlus", "prompt canonical_solution entry_point base_input", "test", "python-tests", _evalplus),
        ("BigCodeBench", "complete_prompt test entry_point", "prompt", "python-tests", _big_code_bench),
        ("HumanEval", "prompt test entry_point", "", "python-tests", lambda row: {}),
        ("MATH", "problem solution", "prompt", "math (or numeric)", _math),
        ("GSM8K", "question answer", "prompt", "numeric (or math)", _gsm8k),
    )
)  # fmt: skip
"""Forms by their columns; the first that a row has is its own."""
