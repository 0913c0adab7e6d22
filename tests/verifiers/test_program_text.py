"""The program in a completion: fences, prose, and as much of the prompt as is needed."""

import gc
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from weighted_mtp.verifiers.program_text import is_defined, program_of, with_provided
from weighted_mtp.verifiers.python_tests import PythonTests

HEAD = "def add(a, b):"
WHOLE = "def add(a, b):\n    return a + b\n"
METHOD = "class Solution:\n    def add(self, a, b):\n"
HOSTILE = Path(__file__).parents[3] / "shared/data/hostile/programs.jsonl"


def runs(prompt, completion, entry_point="add"):
    names = {}
    exec(program_of(prompt, completion, entry_point), names)
    return eval(entry_point, names)(1, 2) == 3


@pytest.mark.parametrize(
    "fence", ["```python", "```py", "```Python", "```python3", "```", "~~~", "~~~py", "~~~python", "````", "``` python"]
)
def test_a_fenced_program_is_found_whatever_its_fence(fence):
    close = fence[: fence.count(fence[0])]
    assert runs(HEAD, f"Here it is:\n\n{fence}\n{WHOLE}{close}\nIt adds the two.")
    assert runs(HEAD, f"{fence}\n{WHOLE}")  # cut, or stopped at the fence
    assert runs(HEAD, f"{fence}\r\n{WHOLE}{close}\r\n".replace("\n", "\r\n").replace("\r\r", "\r"))


@pytest.mark.parametrize(
    "completion", ["\n    return a + b\n", "\n    return a - b\n\ndef more():\n    '''x'''\n", "nonsense ("]
)
def test_without_a_fence_it_goes_on_with_the_prompt_as_it_is(completion):
    assert program_of(HEAD, completion, "add") == HEAD + completion


@pytest.mark.parametrize(
    "body",
    [
        "return a + b",
        "    return a + b",
        "c = a\nfor _ in '1':\n    c += b\nreturn c",
        "c = a\n    for _ in '1':\n        c += b\n    return c",
    ],
)
@pytest.mark.parametrize("prompt", [HEAD, HEAD + "\n", HEAD + '\n    """Adds."""\n', HEAD + '\n    """Adds."""\n    '])
def test_a_body_alone_goes_on_with_the_prompt_indented_as_it_must_be(prompt, body):
    assert runs(prompt, f"Body:\n```python\n{body}\n```\n")


def test_a_body_is_indented_by_tabs_where_the_prompt_is():
    assert runs(HEAD + '\n\t"""Adds."""\n', "```python\nreturn a + b\n```")


def test_the_last_block_that_defines_the_entry_point_counts():
    wrong = WHOLE.replace("+", "-")
    assert runs(HEAD, f"```python\n{wrong}```\nNo:\n```python\n{WHOLE}```\n")
    assert not runs(HEAD, f"```python\n{WHOLE}```\nNo:\n```python\n{wrong}```\n")
    assert runs(HEAD, f"```python\n{WHOLE}```\nUse it:\n```python\nprint(add(1, 2))\n```\nIt prints\n```\n3\n```\n")
    assert runs(HEAD, f"```python\n{WHOLE}```\n```bash\npython add.py\n```\n")


def test_a_script_is_told_from_the_output_that_is_shown_with_it():
    script = "print(sum(map(int, input().split())))\n"
    assert program_of("", f"```python\n{script}```\nFor `1 2`:\n```\n3\n```\n", "") == script
    assert program_of("", f"```\n{script}```", "") == program_of("", script, "") == script


def test_helpers_and_imports_of_the_prompt_are_there_where_they_are_used():
    prompt = (
        "import json\nimport math\nfrom typing import List\n\ndef helper(x):\n    return math.floor(x)\n\n"
        + HEAD
        + '\n    """Adds."""\n'
    )
    assert runs(prompt, "```python\ndef add(a: List, b):\n    return helper(a) + b\n```")
    assert "json" not in program_of(prompt, f"```python\n{WHOLE}```", "add")


def test_classes_of_a_prompt_are_there_since_a_test_may_send_them():
    prompt = "import math\n\nclass Node:\n    size = math.pi\n\nnode = Node()\n\n" + HEAD + "\n    'Adds.'\n"
    program = program_of(prompt, f"```python\n{WHOLE}```", "add")
    assert "class Node" in program
    assert "node =" not in program
    assert program.count("def add") == 1
    shown = program_of(f"Go on with this:\n```python\n{prompt}```\n", f"```python\n{WHOLE}```", "add")
    assert shown == program


@pytest.mark.parametrize("prompt", ["", "Write add.", HEAD + "\n    'Adds.'\n"])
def test_a_method_may_be_named_by_itself(prompt):
    program = program_of(prompt, f"So:\n```python\n{METHOD}        return a + b\n```\n", "add")
    assert program == METHOD + "        return a + b\n"


@pytest.mark.parametrize("place", ["prompt", "completion", "both"])
def test_imports_from_the_future_stand_first(place):
    future = "from __future__ import annotations\n"
    prompt = (future if place != "completion" else "") + "import math\n\n" + HEAD + "\n"
    code = (future if place != "prompt" else "") + "def add(a: Unknown, b):\n    return math.floor(a + b)\n"
    assert runs(prompt, f"```python\n{code}```")


@pytest.mark.parametrize(
    "completion",
    [
        "class Solution:\n    def add(self, a, b):\n        return a + b\n",
        "def add(self, a, b):\n    return a + b\n",
        "    def add(self, a, b):\n        return a + b\n",
        "        return a + b\n",
        "return a + b\n",
    ],
)
def test_a_method_is_put_in_its_class(completion):
    assert runs(METHOD, f"```python\n{completion}```", "Solution().add")
    exec(program_of(METHOD, f"```python\n{completion}```", "add"), names := {})
    assert names["Solution"]().add(1, 2) == 3
    assert runs(METHOD + "        ", f"So:\n```python3\n{completion}```", "Solution().add")


def test_a_fence_that_the_prompt_opens_is_closed_by_the_completion():
    assert runs("Write add.\n```python\n", f"{WHOLE}```\nDone.")
    assert runs(f"Complete it:\n```python\n{HEAD}\n", "    return a + b\n```\nDone.")
    assert runs(f"Complete it:\n```python\n{HEAD}\n```\n", f"```python\n{WHOLE}```\nDone.")


def test_a_base_model_that_closes_a_fence_which_nothing_opened_gave_its_program_before():
    assert runs(HEAD + "\n", "    return a + b\n```\n\nThis adds.")


def test_a_question_in_words_is_no_part_of_the_program():
    assert runs("Write a function `add`.", f"```python\n{WHOLE}```")
    assert runs("Write a function `add`.", WHOLE)


def test_a_fence_inside_a_longer_one_is_text():
    assert runs(HEAD, "````python\ndef add(a, b):\n    '''\n```\nx\n```\n'''\n    return a + b\n````")


@pytest.mark.parametrize(
    "text",
    ["```python\n" + "(" * 5_000, "```\n" * 20_000, "```python\n\0", "```\n'\\d'", "~" * 100_000, "```py\n\ud800"],
)
def test_hostile_text_is_a_program_of_some_kind(text):
    assert isinstance(program_of(HEAD, text, "add"), str)


@pytest.mark.usefixtures("sandbox_works")
def test_what_a_chat_model_wraps_around_its_program_is_no_fault():
    if not HOSTILE.exists():
        pytest.skip("the shared data are not here")
    rows = [json.loads(line) for line in HOSTILE.read_text().splitlines()[:3]]
    assert [found.verdict for found in PythonTests(workers=1).judge_all(rows)] == ["pass"] * 3


@pytest.mark.parametrize(
    "said", ["This returns the sum.", "Explanation:\nIt adds.", "Note that a, b are numbers.\n\ndef f(:"]
)
def test_words_behind_code_without_a_fence_are_no_code(said):
    code = "    return a + b\n\n"
    assert program_of("def add(a, b):\n", code + said + "\n", "add") == "def add(a, b):\n" + code
    whole = "def add(a, b):\n" + code
    assert program_of("", whole + said, "add") == whole


@pytest.mark.parametrize("broken", ["def g(:\n    pass", "for x in", "print(", "    return ("])
def test_code_that_does_not_compile_is_no_prose(broken):
    completion = f"    return a + b\n\n{broken}\n"
    assert program_of("def add(a, b):\n", completion, "add") == "def add(a, b):\n" + completion


def test_a_solution_has_the_imports_that_leetcode_provides_and_no_other_program():
    code = "class Solution:\n    def f(self, xs: List[int]) -> int:\n        return max(Counter(xs).values(), 0, inf)\n"
    imports = "from collections import Counter; from math import inf; from typing import List\n"
    assert with_provided(code, "Solution().f") == imports + code
    assert with_provided("from typing import List\n" + code, "Solution().f").startswith(imports.rpartition(";")[0])
    plain = "def f(xs: List[int]): return xs\n"
    assert with_provided(plain, "f") == plain
    assert with_provided("class Solution:\n    x = 1\n", "Solution().f") == "class Solution:\n    x = 1\n"


class _Collected:
    """Has a finalizer, in which the thread that collects garbage may be switched."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        for _ in range(50):
            pass


@pytest.fixture
def hurried_threads():
    """Threads that are switched as often as can be, and garbage that is collected in the midst of everything."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(20)
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*thresholds)


def test_programs_are_read_in_several_threads(hurried_threads):
    def read(number: int) -> bool:
        found = []
        for i in range(40):
            _ = [_Collected() for _ in range(50)]
            found.append(is_defined(f"def f(x):\n    return [[{number}, {i}, (x, [x])]]\n" * 40, "f"))
        return all(found)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(read, range(8)))
